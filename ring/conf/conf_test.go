package conf

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestFiles reads the files in testdata, and shows of each what it changes of the defaults, or
// the error, after the notices.
//
//	parse [file=NAME]    a corosync.conf
//	uidgid               a file of uidgid.d
//	times [token=…]      the timers of the file read last
func TestFiles(t *testing.T) {
	datadriven.Walk(t, "testdata/files", func(t *testing.T, path string) {
		var c *Config
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var b strings.Builder
			switch d.Cmd {
			case "parse":
				file := "corosync.conf"
				d.MaybeScanArgs(t, "file", &file)
				var notices []Notice
				var err error
				c, notices, err = Parse(file, []byte(d.Input))
				for _, n := range notices {
					fmt.Fprintln(&b, "notice:", n)
				}
				if err != nil {
					fmt.Fprintln(&b, "error:", err)
					break
				}
				differences(&b, "", reflect.ValueOf(*defaults(file)), reflect.ValueOf(*c))
			case "uidgid":
				uids, gids, err := ParseUIDGID("uidgid.d/x", []byte(d.Input))
				fmt.Fprintln(&b, uids, gids, err)
			case "times":
				var token int
				d.MaybeScanArgs(t, "token", &token)
				fmt.Fprintf(&b, "%+v\n", c.Times(time.Duration(token)*time.Millisecond))
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			return b.String()
		})
	})
}

// differences writes the fields that are not as in before.
func differences(b *strings.Builder, name string, before, now reflect.Value) {
	if now.Kind() == reflect.Pointer && !now.IsNil() {
		now, before = now.Elem(), reflect.Zero(now.Type().Elem())
	}
	_, text := now.Interface().(fmt.Stringer)
	switch {
	case reflect.DeepEqual(before.Interface(), now.Interface()):
	case now.Kind() == reflect.Struct && !text:
		for i := range now.NumField() {
			if f := now.Type().Field(i); f.IsExported() {
				differences(b, strings.TrimPrefix(name+"."+f.Name, "."), before.Field(i), now.Field(i))
			}
		}
	case now.Kind() == reflect.Slice && now.Type().Elem().Kind() == reflect.Struct:
		for i := range now.Len() {
			differences(b, fmt.Sprintf("%s[%d]", name, i), reflect.Zero(now.Type().Elem()), now.Index(i))
		}
	case now.Kind() == reflect.Array:
		for i := range now.Len() {
			differences(b, fmt.Sprintf("%s[%d]", name, i), before.Index(i), now.Index(i))
		}
	default:
		fmt.Fprintf(b, "%s = %v\n", name, now.Interface())
	}
}

// TestEveryDirective gives every directive that is known a value that it takes, and one that
// those of numbers and choices do not take.
func TestEveryDirective(t *testing.T) {
	p := &parser{c: defaults("")}
	for path, d := range p.table() {
		section, key := parent(path), last(path)
		var values []string
		for _, v := range []string{"2", "on", "yes", "info", "none", "udp", "aes256", "passive", "ipv4", "nss", "hires", "corosync_votequorum", "10.0.0.1", "239.1.1.1", "1500"} {
			if d.set(v) == nil {
				values = append(values, v)
			}
		}
		if len(values) == 0 {
			t.Errorf("%s takes nothing", path)
			continue
		}
		text := nest(section, key+": "+values[0])
		_, notices, err := Parse("f", []byte(text))
		if e := new(Error); err != nil && (!errorsAs(err, &e) || strings.Contains(e.Text, "is not known")) {
			t.Errorf("%s: %s: %v", path, values[0], err)
		}
		for _, n := range notices {
			if strings.Contains(n.Text, "not known") {
				t.Errorf("%s: %v", path, n)
			}
		}
		if len(values) == 15 {
			continue // it takes any text
		}
		_, _, err = Parse("f", []byte(nest(section, key+": no such thing")))
		if _, switches := d, strings.Contains(path, "broadcast") || strings.Contains(path, "totem.c") || strings.Contains(path, "block"); err == nil && !switches {
			t.Errorf("%s takes anything", path)
		}
	}
}

func errorsAs(err error, e **Error) bool {
	x, ok := err.(*Error)
	*e = x
	return ok
}

// nest puts a line into a section.
func nest(section, line string) string {
	text := line + "\n"
	for s := section; s != ""; s = parent(s) {
		more := ""
		switch last(s) {
		case "logger_subsys":
			more = "subsys: X\n"
		}
		text = last(s) + " {\n" + more + text + "}\n"
	}
	return text
}

func TestNodes(t *testing.T) {
	c := &Config{Nodes: []Node{
		{Name: "one.example.com", Addrs: [MaxLinks]string{"10.0.0.1"}},
		{Name: "two", Addrs: [MaxLinks]string{"10.0.0.2"}},
		{Addrs: [MaxLinks]string{"three.example.com"}},
	}}
	for host, want := range map[string]int{
		"one.example.com": 0, "one": 0, "two": 1, "two.example.com": 1, "three.example.com": 2,
		"three.other.net": 2, "four": -1, "": -1, "10": -1, "10.0.0.2": 1,
	} {
		if got := c.NodeNamed(host); got != want {
			t.Errorf("%q is node %d, want %d", host, got, want)
		}
	}
	for a, want := range map[string]uint32{"192.168.1.2": 0xc0a80102, "::ffff:10.0.0.1": 0x0a000001, "fd00::1": 0} {
		if got := NodeID(netip.MustParseAddr(a), false); got != want {
			t.Errorf("%s: %#x, want %#x", a, got, want)
		}
	}
	if got := NodeID(netip.MustParseAddr("192.168.1.2"), true); got != 0x40a80102 {
		t.Errorf("without the high bit: %#x", got)
	}
}

func TestSharedKey(t *testing.T) {
	for n, want := range map[int]int{0: -1, 127: -1, 128: 128, 256: 256, 4096: 4096, 5000: 4096} {
		key, err := SharedKey("/etc/corosync/authkey", make([]byte, n))
		if (err != nil) != (want < 0) || err == nil && len(key) != want {
			t.Errorf("%d bytes: a key of %d, %v", n, len(key), err)
		}
		if err != nil && !strings.Contains(err.Error(), "corosync-keygen") {
			t.Errorf("no remedy: %v", err)
		}
	}
}

func TestLimits(t *testing.T) {
	many := "totem {\nversion: 2\n" + strings.Repeat("nonsense: 1\n", 1000) + "}\n"
	_, notices, err := Parse("f", []byte(many))
	if err != nil || len(notices) != maxNotices {
		t.Errorf("%d notices, %v", len(notices), err)
	}
	for text, want := range map[string]string{
		"totem {\n" + strings.Repeat("x", 600) + "\n":                      "f:2: the line has 600 bytes",
		strings.Repeat("x {\n", 1000):                                      "nested too deep",
		"totem {\nname: \x00\n}\n":                                         "no text file",
		"nodelist {\n" + strings.Repeat("node {\nring0_addr: x\n}\n", 385): "more than 384",
		"totem {\n" + strings.Repeat("a", 300) + ": 1":                     "too long",
	} {
		if _, _, err := Parse("f", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

// FuzzParse: any bytes are read or refused in one line that says where; what is read has timers
// that a ring can work with; and it is the same each time.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/files/*")
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range strings.Split(string(b), "\n\n") {
			f.Add([]byte(part))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, notices, err := Parse("f", data)
		lines := strings.Count(string(data), "\n") + 1
		for _, n := range notices {
			if n.Line < 1 || n.Line > lines || strings.Contains(n.String(), "\n") {
				t.Fatalf("notice %q of %d lines", n, lines)
			}
		}
		again, noticesAgain, errAgain := Parse("f", data)
		if !reflect.DeepEqual(c, again) || !reflect.DeepEqual(notices, noticesAgain) || !reflect.DeepEqual(err, errAgain) {
			t.Fatal("it differs from time to time")
		}
		if err != nil {
			e, ok := err.(*Error)
			if !ok || e.Line < 0 || e.Line > lines || strings.Contains(e.Text, "\n") {
				t.Fatalf("error %v of %d lines", err, lines)
			}
			return
		}
		if d := c.Times(0); d.Token < minTime || d.TokenRetransmit < minTime || d.Hold < minHold || d.Consensus < d.Token || d.Join < minTime {
			t.Fatalf("%+v", d)
		}
		c.NodeNamed("host.example.com")
		c.Example()
	})
}
