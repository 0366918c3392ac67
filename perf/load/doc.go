// Package load puts a message broker under load through the client libraries that its users
// use, and measures what it does: how many messages a second, and how long each takes until
// it is confirmed and until it is consumed.
//
//	o := load.Defaults()
//	o.Protocol, o.ProducerURLs, o.ConsumerURLs = "amqp091", urls[:1], urls[1:]
//	report, err := load.Run(ctx, o)
//
// Without a rate the loop is closed: a producer has InFlight messages unconfirmed, always.
// With one it is open: messages are due at fixed times whatever the broker does, and a
// latency counts from when its message was due, so that a broker which stalls is charged for
// all that had to wait (coordinated omission).
//
// Every message carries who made it, its number, and when it was due:
//
//	0 "QPRF"  4 producer u32  8 number u64  16 due i64 (ns since the run began)  24 run u64
//
// from which consumers tell what was lost, what came twice, and what came out of order. All
// integers are little endian. Producers and consumers share one process, and so one clock.
package load
