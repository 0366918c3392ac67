package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/users"
)

// Where a broker looks for its users when it is told nothing.
const (
	systemDataDir    = "/var/lib/qpidd"
	homeDataDir      = ".qpidd"
	usersInDataDir   = "users"
	defaultUsersFile = "/etc/qpid/qpidd.users"
)

// userCommand is what the user commands share.
type userCommand struct {
	file         string
	dataDir      string
	passwordFile string
}

// newUserCommand returns "user" with its commands: who may connect to a broker.
func newUserCommand() *cobra.Command {
	u := &userCommand{}
	cmd := group(&cobra.Command{
		Use:   "user",
		Short: "Change who may connect",
		Long: "Change who may connect: the names and SCRAM-SHA-256 keys in a broker's users file.\n" +
			"A running broker sees a change within a second. Each member of a cluster has its\n" +
			"own file: copy it to the others.",
	})
	flags := cmd.PersistentFlags()
	flags.StringVar(&u.file, "users-file", "", "`FILE` with the users, as the broker's option of that name")
	flags.StringVar(&u.dataDir, "data-dir", brokerDataDir(), "`DIR` of the broker, where its users file is by default")

	add := &cobra.Command{
		Use: "add NAME", Short: "Add a user", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return u.set(cmd, args[0], users.Add) },
	}
	passwd := &cobra.Command{
		Use: "passwd NAME", Short: "Give a user another password", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return u.set(cmd, args[0], users.SetPassword) },
	}
	for _, c := range []*cobra.Command{add, passwd} {
		c.Flags().StringVar(&u.passwordFile, "password-file", "", "`FILE` whose first line is the password")
	}
	del := &cobra.Command{
		Use: "delete NAME", Short: "Delete a user", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return users.Delete(u.path(), args[0]) },
	}
	list := &cobra.Command{Use: "list", Short: "List the users", Args: cobra.NoArgs, RunE: u.list}
	cmd.AddCommand(add, passwd, del, list)
	return cmd
}

// brokerDataDir is the data directory of a broker that whoever calls would start.
func brokerDataDir() string {
	if home, err := os.UserHomeDir(); err == nil && os.Geteuid() != 0 {
		return filepath.Join(home, homeDataDir)
	}
	return systemDataDir
}

// path is the users file: the one named, the data directory's, or the one in /etc if that
// is what there is.
func (u *userCommand) path() string {
	if u.file != "" {
		return u.file
	}
	inDataDir := filepath.Join(u.dataDir, usersInDataDir)
	if _, err := os.Stat(inDataDir); err != nil {
		if _, err := os.Stat(defaultUsersFile); err == nil {
			return defaultUsersFile
		}
	}
	return inDataDir
}

func (u *userCommand) set(cmd *cobra.Command, name string, do func(path, name, password string) error) error {
	if err := users.CheckName(name); err != nil {
		return err
	}
	password, err := u.password(cmd, name)
	if err != nil {
		return err
	}
	return do(u.path(), name, password)
}

func (u *userCommand) list(cmd *cobra.Command, _ []string) error {
	names, err := users.List(u.path())
	for _, name := range names {
		_, _ = fmt.Fprintln(cmd.OutOrStdout(), name)
	}
	return err
}

// password asks for a password: in the file named, twice at a terminal, or as the first
// line of what is piped in. It is not taken as an argument, which everybody could read.
func (u *userCommand) password(cmd *cobra.Command, name string) (string, error) {
	if u.passwordFile != "" {
		file, err := os.Open(u.passwordFile)
		if err != nil {
			return "", fmt.Errorf("password file: %w", err)
		}
		defer func() { _ = file.Close() }()
		return firstLine(file)
	}
	if in, ok := cmd.InOrStdin().(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		return typed(in, cmd.ErrOrStderr(), name)
	}
	return firstLine(cmd.InOrStdin())
}

func firstLine(from io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(from, 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", errors.New("no password: type one, pipe it in, or name a --password-file")
	}
	return line, nil
}

// typed asks at a terminal, without showing what is typed.
func typed(in *os.File, out io.Writer, name string) (string, error) {
	var answers [2]string
	for i, prompt := range []string{"Password for " + name + ": ", "The same again: "} {
		_, _ = fmt.Fprint(out, prompt)
		b, err := term.ReadPassword(int(in.Fd()))
		_, _ = fmt.Fprintln(out)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		answers[i] = string(b)
	}
	if answers[0] != answers[1] {
		return "", errors.New("these are two different passwords: nothing was changed")
	}
	return answers[0], nil
}
