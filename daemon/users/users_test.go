package users

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/sasl"
	"github.com/xdg-go/scram"
)

var _ sasl.Users = (*File)(nil)

func path(t *testing.T) string { return filepath.Join(t.TempDir(), "users") }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestChange(t *testing.T) {
	p := path(t)
	if _, err := Open(p); err == nil || !strings.Contains(err.Error(), "qpid-cluster user add") {
		t.Errorf("no file: %v", err)
	}
	must(t, Add(p, "alice", "secret"))
	must(t, Add(p, "Bøb", "pässword"))
	if err := Add(p, "alice", "other"); err == nil {
		t.Error("alice was added twice")
	}
	if info, err := os.Stat(p); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if names, err := List(p); err != nil || !slices.Equal(names, []string{"Bøb", "alice"}) {
		t.Error(names, err)
	}
	f, err := Open(p)
	must(t, err)
	for _, tc := range []struct {
		user, password string
		want           bool
	}{
		{"alice", "secret", true}, {"alice", "Secret", false}, {"alice", "", false}, {"nobody", "secret", false},
		{"Bøb", "pässword", true}, {"", "", false}, {"alice", strings.Repeat("x", 2000), false},
	} {
		if f.Verify(tc.user, tc.password) != tc.want {
			t.Errorf("%s/%s: %v", tc.user, tc.password, !tc.want)
		}
	}
	must(t, SetPassword(p, "alice", "new"))
	must(t, Delete(p, "Bøb"))
	if f.Verify("alice", "secret") || !f.Verify("alice", "new") || f.Verify("Bøb", "pässword") || f.Len() != 1 {
		t.Error("the change was not seen")
	}
	for _, err := range []error{Delete(p, "Bøb"), SetPassword(p, "Bøb", "x")} {
		if err == nil || !strings.Contains(err.Error(), "no user") {
			t.Error(err)
		}
	}
	if left, _ := filepath.Glob(p + ".new*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestScram(t *testing.T) {
	p := path(t)
	must(t, Add(p, "alice", "secret"))
	f, err := Open(p)
	must(t, err)
	server, err := sasl.NewServer(sasl.ScramSHA256, f, func(b []byte) { clear(b) })
	must(t, err)
	client, err := scram.SHA256.NewClient("alice", "secret", "")
	must(t, err)
	c := client.NewConversation()
	challenge, done, user := []byte(nil), false, ""
	for !done {
		response, err := c.Step(string(challenge))
		must(t, err)
		challenge, done, user, err = server.Step([]byte(response))
		must(t, err)
	}
	if _, err = c.Step(string(challenge)); err != nil || user != "alice" || !c.Valid() {
		t.Errorf("%q %v", user, err)
	}
	salt, _, _, count, ok := f.Scram("nobody")
	must(t, Add(p, "carol", "x"))
	must(t, f.Reload())
	again, _, _, _, _ := f.Scram("nobody")
	other, _, _, _, _ := f.Scram("nobody2")
	if ok || count != iterations || !bytes.Equal(salt, again) || bytes.Equal(salt, other) {
		t.Error("an unknown user's salt is not stable")
	}
}

func TestBadFiles(t *testing.T) {
	p := path(t)
	must(t, Add(p, "alice", "secret"))
	good, err := os.ReadFile(p)
	must(t, err)
	f, err := Open(p)
	must(t, err)
	line := strings.Split(string(good), "\n")[2]
	for name, text := range map[string]string{
		"not a user":     "hello\n",
		"twice":          line + "\n" + line + "\n",
		"few iterations": strings.Replace(line, ":15000:", ":100:", 1),
		"many":           strings.Replace(line, ":15000:", ":99999999999:", 1),
		"other keys":     strings.Replace(line, "SHA-256", "SHA-1", 1),
		"short key":      line[:len(line)-8],
		"no base64":      line + "!",
		"bad name":       strings.Replace(line, "alice", "al ice", 1),
		"bad seed":       "seed:!!",
	} {
		must(t, os.WriteFile(p, []byte(text), 0o600))
		err := f.Reload()
		if err == nil || !strings.Contains(err.Error(), "line") {
			t.Errorf("%s: %v", name, err)
		}
		if !f.Verify("alice", "secret") {
			t.Errorf("%s: what was good before is not in force", name)
		}
	}
	must(t, os.WriteFile(p, good, 0o600))
	must(t, os.Chmod(p, 0o644))
	if _, err := Open(p); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by all: %v", err)
	}
	must(t, os.Chmod(p, 0o640))
	if _, err := Open(p); err != nil {
		t.Errorf("readable by its group, which is how packages install it: %v", err)
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("a directory was opened")
	}
}

func TestNames(t *testing.T) {
	p := path(t)
	for _, name := range []string{"", "a b", "a:b", "a\nb", "\xff", strings.Repeat("x", 256), "tab\t"} {
		if Add(p, name, "x") == nil {
			t.Errorf("%q was taken", name)
		}
	}
	for _, password := range []string{"", strings.Repeat("x", 1025), "a\x00b"} {
		if Add(p, "alice", password) == nil {
			t.Errorf("password %.10q was taken", password)
		}
	}
	if _, err := os.Stat(p); err == nil {
		t.Error("a file was made for nobody")
	}
}

// TestUnreadable spoils a file that is open, mends it, and removes it: each is told once.
func TestUnreadable(t *testing.T) {
	p := path(t)
	must(t, Add(p, "alice", "secret"))
	f, err := Open(p)
	must(t, err)
	var told []string
	f.Unreadable = func(err error) { told = append(told, err.Error()) }
	ask := func(want int) {
		t.Helper()
		for range 3 {
			if !f.Verify("alice", "secret") {
				t.Error("what was good before is not in force")
			}
		}
		if len(told) != want {
			t.Errorf("told %q, %d expected", told, want)
		}
	}
	good, err := os.ReadFile(p)
	must(t, err)
	ask(0)
	must(t, os.WriteFile(p, []byte("hello\n"), 0o600))
	ask(1)
	must(t, os.WriteFile(p, good, 0o600))
	ask(1)
	must(t, os.Remove(p))
	ask(2)
}

// TestAtOnce changes and asks from many sides: no change is lost.
func TestAtOnce(t *testing.T) {
	p := path(t)
	must(t, Add(p, "first", "x"))
	f, err := Open(p)
	must(t, err)
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		wg.Add(2)
		go func() {
			defer wg.Done()
			if err := Add(p, name, "x"); err != nil {
				t.Error(err)
			}
		}()
		go func() {
			defer wg.Done()
			if err := f.Reload(); err != nil || !f.Verify("first", "x") {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	if names, err := List(p); err != nil || len(names) != 5 {
		t.Error(names, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("user:a:SCRAM-SHA-256:4096:AAAA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nseed:AAAA\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		table, err := parse("x", data)
		if err != nil {
			return
		}
		again, err := parse("x", table.format())
		if err != nil || !bytes.Equal(again.format(), table.format()) {
			t.Fatal(err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	p := filepath.Join(b.TempDir(), "users")
	if err := Add(p, "alice", "secret"); err != nil {
		b.Fatal(err)
	}
	f, err := Open(p)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		f.Verify("alice", "secret")
	}
}
