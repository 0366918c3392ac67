package amqp100

// Sections are the parts of a message (3.2), each as it is encoded, with its descriptor;
// one that is not there is nil. They point into the message.
type Sections struct {
	Header                Raw
	DeliveryAnnotations   Raw
	MessageAnnotations    Raw
	Properties            Raw
	ApplicationProperties Raw
	Body                  []byte // all body sections
	Footer                Raw

	BodyCode Code // of the body's first section
	BodyAt   int  // where in the message body and footer begin
}

var (
	errSectionOrder = &DecodeError{"a message's sections are repeated or out of order"}
	errSectionCode  = &DecodeError{"a message has an unknown section"}
	errSectionMap   = &DecodeError{"a section that should hold a map, list or binary does not"}
)

// order is the place of a section in a message; the standard's sections only come in it.
func (c Code) order() int {
	switch c {
	case CodeHeader:
		return 1
	case CodeDeliveryAnnotations:
		return 2
	case CodeMessageAnnotations:
		return 3
	case CodeProperties:
		return 4
	case CodeApplicationProperties:
		return 5
	case CodeData, CodeAmqpSequence, CodeAmqpValue:
		return 6
	case CodeFooter:
		return 7
	}
	return 0
}

// Scan finds the sections of a message without looking into them. A message may also be
// cut off at a section's end: all that was stored before the body is scanned like this.
func (s *Sections) Scan(message []byte) error {
	*s = Sections{BodyAt: len(message)}
	last := 0
	for at := 0; at < len(message); {
		code, value, rest, err := SplitDescribed(message[at:])
		if err != nil {
			return err
		}
		end := len(message) - len(rest)
		order := code.order()
		switch {
		case order == 0:
			return errSectionCode
		case order < last, order == last && (order != 6 || code != s.BodyCode || code == CodeAmqpValue):
			return errSectionOrder
		case !fits(code, value):
			return errSectionMap
		}
		last = order
		s.put(code, message, at, end)
		at = end
	}
	return nil
}

// Check walks the sections in front of the body to their depths: others will read them than
// who receives the message.
func (s *Sections) Check() error {
	for _, v := range [...]Raw{s.Header, s.DeliveryAnnotations, s.MessageAnnotations, s.Properties, s.ApplicationProperties} {
		if v == nil {
			continue
		}
		if err := Check(v); err != nil {
			return err
		}
	}
	return nil
}

// fits tells whether the value is of the type that the section has.
func fits(code Code, value Raw) bool {
	switch code {
	case CodeHeader, CodeProperties, CodeAmqpSequence:
		return value.isList()
	case CodeData:
		return value[0] == codeBinary8 || value[0] == codeBinary32
	case CodeAmqpValue:
		return true
	}
	return value[0] == codeMap8 || value[0] == codeMap32
}

func (v Raw) isList() bool {
	return v[0] == codeList8 || v[0] == codeList32 || v[0] == codeList0
}

func (s *Sections) put(code Code, message []byte, from, to int) {
	section := Raw(message[from:to:to])
	switch code {
	case CodeHeader:
		s.Header = section
	case CodeDeliveryAnnotations:
		s.DeliveryAnnotations = section
	case CodeMessageAnnotations:
		s.MessageAnnotations = section
	case CodeProperties:
		s.Properties = section
	case CodeApplicationProperties:
		s.ApplicationProperties = section
	case CodeFooter:
		s.BodyAt = min(s.BodyAt, from)
		s.Footer = section
	default:
		if s.BodyCode == 0 {
			s.BodyCode = code
			s.BodyAt = from
		}
		s.Body = message[s.BodyAt:to:to]
	}
}

// section is what a section holds, without its descriptor.
func (v Raw) section() Raw {
	_, value, _ := v.Described()
	return value
}

// DecodeHeader reads the header section; absent, it leaves what absence means.
func (s *Sections) DecodeHeader(h *Header) error {
	if s.Header == nil {
		*h = Header{}
		return nil
	}
	return h.Decode(s.Header.section())
}

// DecodeProperties reads the properties section likewise.
func (s *Sections) DecodeProperties(p *Properties) error {
	if s.Properties == nil {
		*p = Properties{}
		return nil
	}
	return p.Decode(s.Properties.section())
}

// Application is the map of the application-properties section, nil without one.
func (s *Sections) Application() Raw {
	if s.ApplicationProperties == nil {
		return nil
	}
	return s.ApplicationProperties.section()
}

// Annotations is the map of the message-annotations section, nil without one.
func (s *Sections) Annotations() Raw {
	if s.MessageAnnotations == nil {
		return nil
	}
	return s.MessageAnnotations.section()
}
