package exam

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Member is a broker that is examined. What it cannot tell is an error.
type Member interface {
	Facts() (*Facts, error)
	Probe(nonce uint64) error
	Heard(nonce uint64) (everyone, alone []uint32, err error)
	Findings() (json.RawMessage, error)
}

// Limits of a conversation.
const (
	maxQuestionBytes = 1 << 10
	maxAnswerBytes   = 4 << 20
	maxQuestions     = 64
	// talkTime is long enough for every check of a host that is slow.
	talkTime = time.Minute
)

// Serve answers a doctor, whose hello has been read, until it has no more questions.
func Serve(c net.Conn, m Member) error {
	if err := c.SetDeadline(time.Now().Add(talkTime)); err != nil {
		return err
	}
	r := bufio.NewReaderSize(c, maxQuestionBytes)
	for range maxQuestions {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var q question
		if err := json.Unmarshal(line, &q); err != nil {
			return fmt.Errorf("exam: no question: %w", err)
		}
		out, err := json.Marshal(reply(m, &q))
		if err != nil {
			return err
		}
		if _, err := c.Write(append(out, '\n')); err != nil {
			return err
		}
	}
	return fmt.Errorf("exam: more than %d questions", maxQuestions)
}

func reply(m Member, q *question) (a answer) {
	var err error
	switch q.Ask {
	case askClock:
		a.Clock = time.Now().UnixNano()
	case askFacts:
		a.Facts, err = m.Facts()
	case askProbe:
		err = m.Probe(q.Nonce)
	case askHeard:
		a.Everyone, a.Alone, err = m.Heard(q.Nonce)
	case askFindings:
		a.Findings, err = m.Findings()
	default:
		err = fmt.Errorf("this version does not know the question %q", q.Ask)
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}
