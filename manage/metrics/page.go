package metrics

import (
	"strconv"
	"strings"
)

// Page is what one request is answered.
type Page struct {
	text []byte
}

// Family is a figure, or several of one kind that labels tell apart. All of its samples are added before the
// next family is begun.
type Family struct {
	page *Page
	name string
}

// Counter begins a figure that only grows.
func (p *Page) Counter(name, help string) Family { return p.family(name, "counter", help) }

// Gauge begins a figure that rises and falls.
func (p *Page) Gauge(name, help string) Family { return p.family(name, "gauge", help) }

// Histogram begins one of times, in seconds.
func (p *Page) Histogram(name, help string) Family { return p.family(name, "histogram", help) }

var escapeHelp = strings.NewReplacer(`\`, `\\`, "\n", `\n`)

func (p *Page) family(name, kind, help string) Family {
	p.text = append(p.text, "# HELP "+name+" "+escapeHelp.Replace(help)+"\n# TYPE "+name+" "+kind+"\n"...)
	return Family{p, name}
}

// Add adds a sample. Labels are names and values in turn.
func (f Family) Add(value float64, labels ...string) { f.sample("", value, labels) }

// Times adds a histogram's samples, with a bucket for each octave.
func (f Family) Times(t Times, labels ...string) {
	n := uint64(0)
	with := append(labels[:len(labels):len(labels)], "le", "")
	for i, c := range t.Counts {
		n += c
		if i%4 == 0 && i < buckets-1 { // the last has no upper end
			with[len(with)-1] = number(above(i).Seconds())
			f.sample("_bucket", float64(n), with)
		}
	}
	with[len(with)-1] = "+Inf"
	f.sample("_bucket", float64(n), with)
	f.sample("_sum", t.Sum.Seconds(), labels)
	f.sample("_count", float64(n), labels)
}

var escapeLabel = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

func (f Family) sample(suffix string, value float64, labels []string) {
	b := append(f.page.text, f.name+suffix...)
	for i := 0; i+1 < len(labels); i += 2 {
		open := ","
		if i == 0 {
			open = "{"
		}
		b = append(b, open+labels[i]+`="`+escapeLabel.Replace(labels[i+1])+`"`...)
	}
	if len(labels) > 0 {
		b = append(b, '}')
	}
	b = append(append(append(b, ' '), number(value)...), '\n')
	f.page.text = b
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
