package faulty

// Every is a Rand that goes through all there is to choose.
//
//	for e := new(faulty.Every); ; {
//		… a run with e as its Rand …
//		if !e.Next() {
//			break
//		}
//	}
//
// Runs must be the same as long as the choices are.
type Every struct {
	choices []choice
	at      int
}

type choice struct{ n, of int }

// IntN chooses.
func (e *Every) IntN(n int) int {
	if e.at == len(e.choices) {
		e.choices = append(e.choices, choice{0, n})
	}
	c := e.choices[e.at]
	if c.of != n {
		panic("faulty: the run differs from the one before it, though all choices so far are the same")
	}
	e.at++
	return c.n
}

// Next goes on to the next run, and returns false if there is none.
func (e *Every) Next() bool {
	e.choices = e.choices[:e.at]
	e.at = 0
	for k := len(e.choices) - 1; k >= 0; k-- {
		if c := &e.choices[k]; c.n+1 < c.of {
			c.n++
			e.choices = e.choices[:k+1]
			return true
		}
	}
	return false
}
