package amqp100

import "fmt"

// Code is a descriptor: what a described value is.
type Code uint64

func unknownCode(c Code) string { return fmt.Sprintf("type 0x%x", uint64(c)) }

// Handle names a link within a session, for one of its two ends (2.6.2).
type Handle uint32

// Seq is a sequence number of RFC 1982: it wraps, and is compared by the shorter way
// round (2.8.9). Delivery ids, transfer ids and delivery counts are such numbers.
type Seq uint32

// Before tells whether s comes before t.
func (s Seq) Before(t Seq) bool { return int32(s-t) < 0 }

// Role is which end of a link speaks (2.8.1).
type Role bool

// Roles.
const (
	Sender   Role = false
	Receiver Role = true
)

// SenderSettleMode is how a link's sender settles (2.8.2).
type SenderSettleMode uint8

// Sender settle modes.
const (
	Unsettled SenderSettleMode = iota
	Settled
	Mixed
)

// ReceiverSettleMode is how a link's receiver settles (2.8.3).
type ReceiverSettleMode uint8

// Receiver settle modes: First settles with the outcome, Second once the sender has.
const (
	First ReceiverSettleMode = iota
	Second
)

// SASLCode is how an exchange of SASL frames ended (5.3.3.6).
type SASLCode uint8

// SASL codes.
const (
	SASLOK SASLCode = iota
	SASLAuth
	SASLSys
	SASLSysPerm
	SASLSysTemp
)

// Terminus durabilities (3.5.5).
const (
	DurableNone uint32 = iota
	DurableConfiguration
	DurableUnsettledState
)

// Error conditions (2.8.15 to 2.8.18).
const (
	ErrInternal              = "amqp:internal-error"
	ErrNotFound              = "amqp:not-found"
	ErrUnauthorizedAccess    = "amqp:unauthorized-access"
	ErrDecode                = "amqp:decode-error"
	ErrResourceLimitExceeded = "amqp:resource-limit-exceeded"
	ErrNotAllowed            = "amqp:not-allowed"
	ErrInvalidField          = "amqp:invalid-field"
	ErrNotImplemented        = "amqp:not-implemented"
	ErrResourceLocked        = "amqp:resource-locked"
	ErrPreconditionFailed    = "amqp:precondition-failed"
	ErrResourceDeleted       = "amqp:resource-deleted"
	ErrIllegalState          = "amqp:illegal-state"
	ErrFrameSizeTooSmall     = "amqp:frame-size-too-small"
	ErrConnectionForced      = "amqp:connection:forced"
	ErrFraming               = "amqp:connection:framing-error"
	ErrWindowViolation       = "amqp:session:window-violation"
	ErrErrantLink            = "amqp:session:errant-link"
	ErrHandleInUse           = "amqp:session:handle-in-use"
	ErrUnattachedHandle      = "amqp:session:unattached-handle"
	ErrDetachForced          = "amqp:link:detach-forced"
	ErrTransferLimitExceeded = "amqp:link:transfer-limit-exceeded"
	ErrMessageSizeExceeded   = "amqp:link:message-size-exceeded"
)

// Numbers of the standard.
const (
	MinMaxFrameBytes = 512 // what every peer must be able to take (2.4.1)
	DefaultPriority  = 4   // of a message whose header names none (3.2.1)
)

// Opt is a value that may be absent where absence is not the same as zero.
type Opt[T any] struct {
	Value T
	Set   bool
}

// Some is a value that is there.
func Some[T any](v T) Opt[T] { return Opt[T]{Value: v, Set: true} }

// Or is the value, or d where there is none.
func (o Opt[T]) Or(d T) T {
	if o.Set {
		return o.Value
	}
	return d
}

// DecodeError says what is wrong with encoded bytes. Its condition is ErrDecode.
type DecodeError struct{ Text string }

func (e *DecodeError) Error() string { return "amqp 1.0: " + e.Text }

// Errors of every value, made once: malformed input must not cost an allocation either.
var (
	errShort      = &DecodeError{"a value is cut short"}
	errFormat     = &DecodeError{"a value has an unknown or unexpected format code"}
	errDepth      = &DecodeError{"values are nested too deep"}
	errSize       = &DecodeError{"a compound value's size and count do not go together"}
	errOddMap     = &DecodeError{"a map has a key without a value"}
	errDescriptor = &DecodeError{"a descriptor is neither a number nor a known symbol"}
	errTrailing   = &DecodeError{"bytes follow where a value should have ended"}
)
