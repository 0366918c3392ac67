package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/users"
)

// user runs a user command on a file, with something piped in.
func user(t *testing.T, file, input string, args ...string) (string, error) {
	t.Helper()
	cmd := newUserCommand()
	var out bytes.Buffer
	cmd.SetIn(strings.NewReader(input))
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceUsage = true
	cmd.SetArgs(append(args, "--users-file", file))
	err := cmd.Execute()
	return out.String(), err
}

func TestUser(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("from file\nand more\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		input string
		args  []string
		want  string
		fails bool
	}{
		{args: []string{"list"}, fails: true},
		{args: []string{"add", "alice"}, fails: true},
		{input: "secret\n", args: []string{"add", "alice"}},
		{input: "secret", args: []string{"add", "alice"}, fails: true},
		{input: "secret\r\n", args: []string{"add", "bob"}},
		{input: "x", args: []string{"add", "c d"}, fails: true},
		{args: []string{"list"}, want: "alice\nbob\n"},
		{args: []string{"passwd", "alice", "--password-file", password}},
		{args: []string{"delete", "bob"}},
		{args: []string{"delete", "bob"}, fails: true},
		{args: []string{"list"}, want: "alice\n"},
	} {
		out, err := user(t, file, step.input, step.args...)
		if (err != nil) != step.fails || err == nil && out != step.want {
			t.Errorf("%v: %q, %v", step.args, out, err)
		}
	}
	f, err := users.Open(file)
	if err != nil || !f.Verify("alice", "from file") {
		t.Errorf("the password of the file is not alice's: %v", err)
	}
}
