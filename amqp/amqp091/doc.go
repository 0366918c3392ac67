// Package amqp091 is the codec of AMQP 0-9-1 with RabbitMQ's extensions: frames, methods,
// content headers and field tables.
//
//	 0      1         3      7                size+7
//	+------+---------+------+-----------------+----------+
//	| type | channel | size | payload         | 0xCE     |
//	+------+---------+------+-----------------+----------+
//	method payload:  class u16, method u16, arguments
//	header payload:  class u16, weight u16 (0), body size u64, property flags u16, property list
//	body payload:    bytes of the body
//
// Reading is views all the way down:
//
//	f, n, want, err := amqp091.ReadFrame(data, maxFrame)   // n == 0: read until want bytes are there
//	id, arguments, err := f.Method()
//	switch id {
//	case amqp091.QueueDeclareID:
//		var m amqp091.QueueDeclare
//		err = m.Decode(arguments)                      // m's strings and tables point into data
//	}
//
// and writing is appending: m.Append(b, channel) adds a whole frame to b.
//
// Every decoder holds on any input: nothing is allocated by a length that came from the
// peer, and tables nest to MaxTableDepth. What is wrong comes back as an *Error, which
// carries the reply code that the standard has for it. The package keeps no state: which
// method may come when is the session's business.
//
// Methods, properties and constants are generated from spec.txt.
package amqp091

//go:generate go run ./internal/gen spec.txt zz_generated.go
