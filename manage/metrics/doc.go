// Package metrics is a broker's figures as Prometheus reads them, over HTTP.
//
//	h := metrics.Histogram{}                 // in the hot path
//	h.Observe(took)
//
//	s := metrics.Serve(listener, func(ctx context.Context, p *metrics.Page) error {
//		p.Counter("qpidd_ring_tokens_total", "Visits of the token.").Add(12, "by", "kernel")
//		p.Histogram("qpidd_ring_rotation_seconds", "A rotation of the token.").Times(h.Times())
//		return nil
//	})
//	defer s.Close()
//
// The format is the text exposition format, version 0.0.4: families of samples, of which each has its help and
// type once. A page is made for each request by whoever knows the figures; nothing is kept here, and nothing
// is registered.
//
// A Histogram counts times by their logarithm, each octave in four, and is written and read from any
// goroutine. Times are what was counted, by it or by a program in the kernel that counts alike.
//
// There is no authentication and no TLS: what is shown has no secrets, and who may ask is for the address that
// one listens on, and the firewall.
package metrics
