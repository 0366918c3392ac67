// Package load keeps clients going against the brokers of a cluster, and keeps the ledger of
// what they were promised and what they have seen.
//
//	l := load.New("queue", c.Brokers...)
//	l.Run(ctx, 0, l.Publish091("a"))      // from broker to broker as they fail
//	l.Run(ctx, 1, l.Consume100("b", false))
//	c.Kill(2)
//	l.Ledger.Missing()                    // promised or held, and not consumed
//	cancel(); l.Wait()
//
// Each message is published once: a publisher that loses its broker goes on with new ones.
// So whatever is consumed twice was delivered twice.
package load
