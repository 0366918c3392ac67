package amqp091

import "fmt"

// ReplyCode is why a channel or connection is closed, or a message returned.
type ReplyCode uint16

// Error is what a peer did wrong, as it is to be told.
type Error struct {
	Code   ReplyCode
	Text   string   // begins with the name of the code
	Method MethodID // what caused it, if a method did
}

func (e *Error) Error() string { return e.Text }

// Errorf makes an error whose text opens with the name of its code, as RabbitMQ's do.
func Errorf(code ReplyCode, format string, args ...any) *Error {
	return &Error{Code: code, Text: code.Name() + " - " + fmt.Sprintf(format, args...)}
}
