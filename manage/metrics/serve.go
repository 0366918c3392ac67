package metrics

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// Limits of the server: whoever scrapes asks some times a minute.
const (
	maxConnections = 32
	maxPages       = 4 // that are made at once
	maxHeaderBytes = 8 << 10
	readTime       = 5 * time.Second
	answerTime     = 10 * time.Second
	idleTime       = 2 * time.Minute
)

const contentType = "text/plain; version=0.0.4; charset=utf-8"

// Server answers requests for a page.
type Server struct {
	http  http.Server
	pages chan struct{} // one for each being made
	fill  func(context.Context, *Page) error
	conns atomic.Int64
	done  chan struct{}
}

// Serve answers GET /metrics at a listener, which it closes in the end, with what fill puts on a page. If fill
// fails, the answer is 503 with its error.
func Serve(l net.Listener, fill func(context.Context, *Page) error) *Server {
	s := &Server{pages: make(chan struct{}, maxPages), fill: fill, done: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", s.answer)
	s.http = http.Server{Handler: mux, ReadTimeout: readTime, WriteTimeout: answerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeaderBytes, ConnState: s.count}
	go func() {
		defer close(s.done)
		_ = s.http.Serve(l) // it ends when it is closed
	}()
	return s
}

// count closes connections that are too many.
func (s *Server) count(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if s.conns.Add(1) > maxConnections {
			_ = c.Close() // its state becomes closed, and it is counted no more
		}
	case http.StateClosed, http.StateHijacked:
		s.conns.Add(-1)
	}
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	select {
	case s.pages <- struct{}{}:
		defer func() { <-s.pages }()
	default:
		http.Error(w, "too many ask at once", http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerTime/2)
	defer cancel()
	var p Page
	if err := s.fill(ctx, &p); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(p.text)))
	_, _ = w.Write(p.text) // who has gone needs no answer
}

// Close closes the listener and all connections. When it returns no page is being made, nor will be.
func (s *Server) Close() {
	_ = s.http.Close() // nothing is under way that matters
	<-s.done
	for range maxPages {
		s.pages <- struct{}{}
	}
}
