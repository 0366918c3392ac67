package exam

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// Conn is a doctor's connection to a broker. One goroutine uses it.
type Conn struct {
	c net.Conn
	r *bufio.Reader
}

// Dial connects to a broker's port for members. The context's end is that of the conversation, too.
func Dial(ctx context.Context, address string) (*Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	end := time.Now().Add(talkTime)
	if t, limited := ctx.Deadline(); limited {
		end = t
	}
	if err := c.SetDeadline(end); err != nil {
		c.Close()
		return nil, err
	}
	hello := make([]byte, HelloBytes)
	copy(hello, Magic)
	if _, err := c.Write(hello); err != nil {
		c.Close()
		return nil, err
	}
	return &Conn{c, bufio.NewReader(c)}, nil
}

// Until gives the conversation more time, or less, than Dial's context did.
func (c *Conn) Until(end time.Time) error { return c.c.SetDeadline(end) }

// Close ends the examination.
func (c *Conn) Close() error { return c.c.Close() }

// Address is the broker's, as it was dialled.
func (c *Conn) Address() string { return c.c.RemoteAddr().String() }

func (c *Conn) ask(q question) (*answer, error) {
	line, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	if _, err := c.c.Write(append(line, '\n')); err != nil {
		return nil, err
	}
	var text []byte
	for {
		part, err := c.r.ReadSlice('\n')
		text = append(text, part...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("it does not answer a doctor's question: %w", err)
		}
		if len(text) > maxAnswerBytes {
			return nil, fmt.Errorf("its answer has more than %d bytes", maxAnswerBytes)
		}
	}
	a := new(answer)
	if err := json.Unmarshal(text, a); err != nil {
		return nil, fmt.Errorf("its answer is none: %w", err)
	}
	if a.Error != "" {
		return nil, errors.New(a.Error)
	}
	return a, nil
}

// Facts asks who it is.
func (c *Conn) Facts() (*Facts, error) {
	a, err := c.ask(question{Ask: askFacts})
	if err != nil {
		return nil, err
	}
	if a.Facts == nil {
		return nil, errors.New("it says nothing of itself")
	}
	return a.Facts, nil
}

// clockTries: the fastest of some round trips has waited for the least.
const clockTries = 5

// Clock is how far the broker's clock is ahead of this host's, give or take half the round trip.
func (c *Conn) Clock() (offset, roundTrip time.Duration, err error) {
	for range clockTries {
		began := time.Now()
		a, err := c.ask(question{Ask: askClock})
		if err != nil {
			return 0, 0, err
		}
		if took := time.Since(began); roundTrip == 0 || took < roundTrip {
			roundTrip = took
			offset = time.Unix(0, a.Clock).Sub(began.Round(0).Add(took / 2)) // by the wall, not by the monotonic clock
		}
	}
	return offset, roundTrip, nil
}

// Probe has it send probes.
func (c *Conn) Probe(nonce uint64) error {
	_, err := c.ask(question{Ask: askProbe, Nonce: nonce})
	return err
}

// Heard asks whose probes have come to it.
func (c *Conn) Heard(nonce uint64) (everyone, alone []uint32, err error) {
	a, err := c.ask(question{Ask: askHeard, Nonce: nonce})
	if err != nil {
		return nil, nil, err
	}
	return a.Everyone, a.Alone, nil
}

// Findings has it examine itself.
func (c *Conn) Findings() (json.RawMessage, error) {
	a, err := c.ask(question{Ask: askFindings})
	if err != nil {
		return nil, err
	}
	return a.Findings, nil
}
