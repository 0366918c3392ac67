package conf

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// setter takes the value of a directive, or says what is wrong with it.
type setter func(value string) error

// ignored takes any value.
func ignored(string) error { return nil }

// whole reads an integer. What is not in the range is refused with the range.
func whole(least, most int64, set func(n int64)) setter {
	return func(value string) error {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < least || n > most {
			return fmt.Errorf("%q must be a whole number from %d to %d%s", shorten(value), least, most, comment(value))
		}
		set(n)
		return nil
	}
}

// comment explains what is often behind a value that cannot be read.
func comment(value string) string {
	if strings.Contains(value, "#") {
		return "; a comment takes a line of its own"
	}
	return ""
}

// number is a number of which 0 is one like others.
func number(most int64, v *int) setter {
	return whole(0, most, func(n int64) { *v = int(n) })
}

// rangeOf is a number of which 0 leaves the default, as with corosync.
func rangeOf(least, most int64, v *int) setter {
	set := whole(least, most, func(n int64) { *v = int(n) })
	return func(value string) error {
		if value == "0" {
			return nil
		}
		return set(value)
	}
}

func id(v *uint32) setter {
	return whole(0, maxU32, func(n int64) { *v = uint32(n) })
}

// zeroMillis is a time of which 0 is one like others.
func zeroMillis(v *time.Duration) setter {
	return whole(0, maxU32, func(n int64) { *v = time.Duration(n) * time.Millisecond })
}

// millis is a time of which 0 leaves the default.
func millis(v *time.Duration) setter { return times(v, time.Millisecond) }

func seconds(v *time.Duration) setter { return times(v, time.Second) }

func times(v *time.Duration, unit time.Duration) setter {
	return whole(0, maxU32, func(n int64) {
		if n != 0 {
			*v = time.Duration(n) * unit
		}
	})
}

func text(v *string) setter {
	return func(value string) error {
		*v = value
		return nil
	}
}

// choice is one of some words.
func choice(v *string, words ...string) setter {
	return func(value string) error {
		if !slices.Contains(words, value) {
			return fmt.Errorf("%q must be %s%s", shorten(value), either(words), comment(value))
		}
		*v = value
		return nil
	}
}

func either(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// yesNo is a switch of totem's. Corosync does not look at other words, and leaves it as it was.
func (p *parser) yesNo(v *bool) setter {
	return func(value string) error {
		if value != "yes" && value != "no" {
			p.notice(p.line, "%q is neither yes nor no, and leaves the default, as with corosync: write yes or no", shorten(value))
			return nil
		}
		*v = value == "yes"
		return nil
	}
}

// oneZero is a switch of votequorum's.
func oneZero(v *bool) setter {
	return whole(0, maxU8, func(n int64) { *v = n != 0 })
}

// onOff is a switch of logging's: some are on or off, some may be yes or no as well.
func onOff(v *bool, words ...string) setter {
	var word string
	set := choice(&word, words...)
	return func(value string) error {
		if err := set(value); err != nil {
			return err
		}
		*v = word == "on" || word == "yes"
		return nil
	}
}

func address(v *netip.Addr) setter {
	return func(value string) error {
		a, err := netip.ParseAddr(value)
		if err != nil {
			return fmt.Errorf("%q is no IP address%s", shorten(value), comment(value))
		}
		*v = a.Unmap()
		return nil
	}
}

// mean is what somebody may have meant by a word, as the end of a sentence.
func mean(word string, known []string) string {
	best, distance := "", max(2, len(word)/3)+1
	slices.Sort(known)
	for _, k := range known {
		if d := edits(strings.ToLower(word), k); d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// edits is how many letters have to be put in, taken out, changed, or swapped with the next, to
// make one word of the other.
func edits(a, b string) int {
	if len(a) > maxShown {
		return maxShown // it is no slip of the finger
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			rows[i][j] = min(change, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
