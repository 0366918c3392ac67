package harness

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// commandLimit is how long a command may take that does not wait for a cluster.
const commandLimit = 30 * time.Second

// outputLimit is how long a daemon may take to let go of what the command wrote to, which it
// has inherited.
const outputLimit = 15 * time.Second

// Command is a program to run to its end, as a person would at a prompt.
type Command struct {
	Program   string
	Arguments []string
	Dir       string
	Environ   []string // besides this process's
	Input     string
	Host      *Host // nil: this one
	Limit     time.Duration
}

// Result is what a command left.
type Result struct {
	Stdout, Stderr string
	Status         int
}

// Lines are the lines of the error output.
func (r *Result) Lines() []string {
	return strings.Split(strings.TrimRight(r.Stderr, "\n"), "\n")
}

// Run runs a command. That it ends, and in time, is all that is asked of it here.
func (c *Command) Run(t testing.TB) *Result {
	t.Helper()
	limit := c.Limit
	if limit == 0 {
		limit = commandLimit
	}
	line := append([]string{Program(t, c.Program)}, c.Arguments...) // which the first one has to build
	if c.Host != nil {
		line = c.Host.Line(line[0], line[1:]...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Dir = c.Dir
	cmd.Env = append(os.Environ(), c.Environ...)
	cmd.Stdin = strings.NewReader(c.Input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = outputLimit
	err := cmd.Run()
	var exit *exec.ExitError
	if ctx.Err() != nil || err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %q: %v: %s", c.Program, c.Arguments, errors.Join(ctx.Err(), err), stderr.String())
	}
	return &Result{Stdout: stdout.String(), Stderr: stderr.String(), Status: cmd.ProcessState.ExitCode()}
}
