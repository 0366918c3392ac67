package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/host"
)

// A daemon is the same program started again in a session of its own. It tells its parent
// through a pipe when it listens and is a member: "ready PORT", or "error STATUS TEXT".
const (
	daemonVariable = "QPIDD_DAEMON"
	reportFD       = 3
)

// IsDaemon tells whether this process was started by Daemonize.
func IsDaemon() bool { return os.Getenv(daemonVariable) == "1" }

// Daemonize starts the daemon and returns once it serves clients, or with what it says is
// wrong.
func Daemonize(o *config.Options) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program's file: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), daemonVariable+"=1")
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if o.Log.OnStderr() {
		cmd.Stderr = os.Stderr
	}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return fmt.Errorf("cannot start the daemon: %w", err)
	}
	said := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(r)
		said <- string(b)
	}()
	limit := time.NewTimer(time.Duration(o.Wait) * time.Second)
	defer limit.Stop()
	select {
	case text := <-said:
		return heard(o, text)
	case <-limit.C:
		giveUp(cmd.Process, said)
		return fmt.Errorf("the daemon was not ready within %d seconds; its log says what it waits for, --wait allows more", o.Wait)
	}
}

// endTime is how long a daemon that is given up has to take back what it has set up.
const endTime = 5 * time.Second

// giveUp ends a daemon: by its own means, so that it leaves no rules in the firewall, else by force.
func giveUp(p *os.Process, said <-chan string) {
	_ = p.Signal(syscall.SIGTERM) // it has ended if that fails
	t := time.NewTimer(endTime)
	defer t.Stop()
	select {
	case <-said: // its end of the pipe is closed
	case <-t.C:
	}
	_ = p.Kill()
}

func heard(o *config.Options, text string) error {
	kind, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	switch kind {
	case "ready":
		if o.Port == 0 {
			fmt.Println(rest)
		}
		return nil
	case "error":
		number, text, _ := strings.Cut(rest, " ")
		status, err := strconv.Atoi(number)
		if err != nil {
			status, text = 1, rest
		}
		return &failure{status, text}
	}
	return errors.New("the daemon ended before it was ready; its log says why")
}

// failure is a daemon's error, as its parent has heard of it.
type failure struct {
	status int
	text   string
}

func (f *failure) Error() string { return f.text }

// report says something to the parent, once.
func report(text string) error {
	f := os.NewFile(reportFD, "report")
	defer f.Close()
	_, err := f.WriteString(text)
	return err
}

// ReportReady tells whoever waits for it that the broker serves clients on port.
func ReportReady(o *config.Options, port int) error {
	if IsDaemon() {
		return report(fmt.Sprintf("ready %d", port))
	}
	if o.Port == 0 {
		fmt.Println(port)
	}
	return nil
}

// ReportFailure passes a failure to the parent of a daemon.
func ReportFailure(err error) error {
	if IsDaemon() {
		_ = report(fmt.Sprintf("error %d ", ExitStatus(err)) + strings.ReplaceAll(err.Error(), "\n", " ")) // the parent may be gone
	}
	return err
}

// Pid is a pid file, locked as long as the broker runs.
type Pid struct {
	path string
	file *os.File
}

// WritePid writes this process's id where Check and Quit look for it. Only a daemon, and a
// broker with --pidfile, has one.
func WritePid(o *config.Options, port int) (*Pid, error) {
	if !o.Daemon && o.PidFile == "" {
		return &Pid{}, nil
	}
	path := o.PidPath(port)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot write pid file: %w; name another place with --pid-dir or --pidfile", err)
	}
	f, err := lockFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot write pid file: %w; name another place with --pid-dir or --pidfile", err)
	}
	if err = f.Truncate(0); err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		f.Close()
		_ = os.Remove(path) // there may be no room for as much as a number, and no rights for this
		return nil, fmt.Errorf("cannot write pid file %s: %w; name another place with --pid-dir or --pidfile", path, err)
	}
	return &Pid{path, f}, nil
}

// Remove removes the file.
func (p *Pid) Remove() {
	if p.file != nil {
		os.Remove(p.path)
		p.file.Close()
	}
}

// running is the process id of the daemon of the options' port.
func running(o *config.Options) (int, error) {
	path := o.PidPath(o.Port)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("no daemon runs on port %d (there is no %s)", o.Port, path)
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return 0, fmt.Errorf("no daemon runs on port %d (%s is left over)", o.Port, path)
	}
	line, _ := bufio.NewReader(f).ReadString('\n')
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return 0, fmt.Errorf("%s holds no process id", path)
	}
	return pid, nil
}

// Check prints the process id of the daemon of the options' port.
func Check(o *config.Options) error {
	pid, err := running(o)
	if err == nil {
		fmt.Println(pid)
	}
	return err
}

// Quit shuts the daemon of the options' port down and waits for its end.
func Quit(o *config.Options) error {
	pid, err := running(o)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
		return fmt.Errorf("cannot signal process %d: %w", pid, err)
	}
	end := time.Now().Add(time.Duration(o.Wait) * time.Second)
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for range t.C {
		// The pid file goes before the process does.
		if now, err := running(o); (err != nil || now != pid) && host.Dead(uint32(pid)) {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("process %d has not ended within %d seconds", pid, o.Wait)
		}
	}
	return nil
}
