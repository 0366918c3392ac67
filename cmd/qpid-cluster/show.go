package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/go-amqp"
)

const defaultTimeout = 10 * time.Second

// status is what a broker says of its cluster.
type status struct {
	Name    string   `json:"name"`
	ID      string   `json:"id"`
	Status  string   `json:"status"`
	Size    int      `json:"size"`
	Members []member `json:"members"`
	// Of the ring, as the broker that was asked has it.
	Datapath string   `json:"ring_datapath,omitempty"`
	Guard    string   `json:"ring_guard,omitempty"`
	Token    string   `json:"ring_token,omitempty"`
	Times    []timing `json:"ring_times,omitempty"`
	// Of its clients.
	Limit     string `json:"connection_limit,omitempty"`
	Acceptors string `json:"acceptors,omitempty"`
}

// timing is one of the times of a ring's token, in nanoseconds.
type timing struct {
	What string        `json:"what"`
	N    uint64        `json:"count"`
	P50  time.Duration `json:"p50_ns"`
	P99  time.Duration `json:"p99_ns"`
	Max  time.Duration `json:"max_ns"`
}

type member struct {
	ID    string `json:"id"`
	URL   string `json:"url"`
	State string `json:"state"`
}

// show prints the cluster of the broker at an address.
func show(w io.Writer, at string, asJSON bool, timeout time.Duration) error {
	s, err := ask(at, timeout)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(w, s)
	}
	fmt.Fprintf(w, "  Cluster Name: %s\n    Cluster ID: %s\nCluster Status: %s\n  Cluster Size: %d\n", s.Name, s.ID, s.Status, s.Size)
	for i, m := range s.Members {
		label := "       Members:"
		if i > 0 {
			label = "              :"
		}
		fmt.Fprintf(w, "%s ID=%s URL=%s", label, m.ID, m.URL)
		if m.State != "active" {
			fmt.Fprintf(w, " (%s)", m.State)
		}
		fmt.Fprintln(w)
	}
	return nil
}

// ask reads what a broker tells any client that opens a connection.
func ask(at string, timeout time.Duration) (*status, error) {
	if !strings.Contains(at, "://") {
		at = "amqp://" + at
	}
	u, err := url.Parse(at)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%q is no address: give host:port or user:password@host:port", at)
	}
	o := &amqp.ConnOptions{SASLType: amqp.SASLTypeAnonymous()}
	if u.User != nil {
		password, _ := u.User.Password()
		o.SASLType = amqp.SASLTypePlain(u.User.Username(), password)
	}
	u.User = nil
	if u.Port() == "" {
		u.Host += ":5672"
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c, err := amqp.Dial(ctx, u.String(), o)
	if err != nil {
		return nil, fmt.Errorf("cannot ask the broker at %s: %w; does it run, and does it want a user (user:password@%s)?", u.Host, err, u.Host)
	}
	defer c.Close()
	return parse(u.Host, c.Properties())
}

func parse(host string, properties map[string]any) (*status, error) {
	text := func(name string) string {
		v, _ := properties[name].(string)
		return v
	}
	s := &status{Name: text("qpid.cluster-name"), ID: text("qpid.cluster-id"), Status: text("qpid.cluster-status")}
	if s.Name == "" {
		return nil, fmt.Errorf("the broker at %s is in no cluster", host)
	}
	s.Datapath, s.Guard = text("qpid.ring-datapath"), text("qpid.ring-guard")
	s.Token, s.Limit, s.Acceptors = text("qpid.ring-token"), text("qpid.connection-limit"), text("qpid.acceptors")
	if times := text("qpid.ring-times"); times != "" {
		if err := json.Unmarshal([]byte(times), &s.Times); err != nil {
			return nil, fmt.Errorf("the broker at %s tells of its ring's times what cannot be read: %w", host, err)
		}
	}
	for {
		line := strings.SplitN(text(fmt.Sprintf("qpid.cluster-member-%d", len(s.Members))), "|", 3)
		if len(line) != 3 {
			break
		}
		s.Members = append(s.Members, member{ID: line[0], State: line[1], URL: line[2]})
	}
	s.Size = len(s.Members)
	return s, nil
}
