package clients

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// program is a client that runs as a process: its command, then declare, publish or
// consume, the port, the queue, and bodies or a count. Who it is stands in the environment.
type program struct {
	name    string
	command []string
	login   Login
}

func (p program) As(l Login) Client {
	p.login = l
	return p
}

func (p program) Name() string { return p.name }

func (p program) run(ctx context.Context, arguments ...string) (string, error) {
	arguments = append(p.command[1:len(p.command):len(p.command)], arguments...)
	cmd := exec.CommandContext(ctx, p.command[0], arguments...)
	if l := p.login; l.User != "" {
		cmd.Env = append(os.Environ(), "CLIENT_USER="+l.User, "CLIENT_PASSWORD="+l.Password)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", p.name, arguments[len(p.command)-1], err, stderr.String())
	}
	return stdout.String(), nil
}

func (p program) Declare(ctx context.Context, port int, queue string) error {
	_, err := p.run(ctx, "declare", strconv.Itoa(port), queue)
	return err
}

func (p program) Publish(ctx context.Context, port int, queue string, bodies ...string) error {
	_, err := p.run(ctx, append([]string{"publish", strconv.Itoa(port), queue}, bodies...)...)
	return err
}

func (p program) Consume(ctx context.Context, port int, queue string, count int) ([]string, error) {
	out, err := p.run(ctx, "consume", strconv.Itoa(port), queue, strconv.Itoa(count))
	return strings.Fields(out), err
}

// here is the directory of this file, which the programs lie beside.
func here() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(file)
}

// node returns rhea and amqplib, installed if need be.
func node(t testing.TB) []Client {
	t.Helper()
	dir, err := installNode()
	if err != nil {
		missing(t, "rhea and amqplib: %v", err)
		return nil
	}
	return []Client{
		program{name: "rhea", command: []string{"node", filepath.Join(dir, "rhea_client.js")}},
		program{name: "amqplib", command: []string{"node", filepath.Join(dir, "amqplib_client.js")}},
	}
}

// installNode copies the programs to a directory named after their content, and has npm
// install there what they need.
var installNode = sync.OnceValues(func() (string, error) {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("%w: install nodejs and npm", err)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	files := map[string][]byte{}
	sum := sha256.New()
	for _, name := range []string{"package.json", "package-lock.json", "rhea_client.js", "amqplib_client.js"} {
		if files[name], err = os.ReadFile(filepath.Join(here(), "node", name)); err != nil {
			return "", err
		}
		sum.Write(files[name])
	}
	dir := filepath.Join(cache, "qpidd-cluster-e2e", fmt.Sprintf("node-%x", sum.Sum(nil)[:8]))
	done := filepath.Join(dir, "node_modules", ".package-lock.json") // npm writes it last
	if _, err := os.Stat(done); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return "", err
		}
	}
	cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return dir, nil
})

// python returns Qpid Proton and pika, as far as they are installed.
func python(t testing.TB) (list []Client) {
	t.Helper()
	for _, p := range []struct{ module, debian, name string }{
		{"proton", "python3-qpid-proton", "qpid-proton"},
		{"pika", "python3-pika", "pika"},
	} {
		interpreter := pythonWith(p.module)
		if interpreter == "" {
			missing(t, "%s: no Python has the module %s: apt-get install %s", p.name, p.module, p.debian)
			continue
		}
		list = append(list, program{name: p.name, command: []string{interpreter, filepath.Join(here(), "python", p.module+"_client.py")}})
	}
	return list
}

// pythonWith finds an interpreter that has a module: the first on the path, or Debian's own,
// for which Debian's packages are.
func pythonWith(module string) string {
	for _, interpreter := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(interpreter, "-c", "import "+module).Run() == nil {
			return interpreter
		}
	}
	return ""
}
