package interop

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// inEachRole forms rings with us in each role, over a transport, and has one die: a corosync in
// half of them and ours in the others. Then it is back.
func inEachRole(t *testing.T, transport func(l *lab, role int)) {
	for i, x := range roles {
		t.Run(x.name, func(t *testing.T) {
			l := newLab(t)
			transport(l, i)
			list := l.members(x.ours, x.oursFirst)
			exchange(t, exchangeLimit, burstMessages, list...)
			l.seen(x.ours, list[0].cmd.Process.Pid)
			if i%2 == 0 {
				killInFlood(l, list[:2], list[2], func() { l.daemons[list[2].host].kill() })
				list[2] = l.corosync(list[2].host)
			} else {
				killInFlood(l, list[1:], list[0], func() { list[0].kill() })
				list[0] = l.ringnode(x.ours, 1<<20) // as saved; it has to be above all before
			}
			for _, p := range list {
				p.awaitView(viewLimit, 1, 2, 3)
			}
			exchange(t, exchangeLimit, burstMessages, list...)
		})
	}
}

// TestUnicast is transport udpu.
func TestUnicast(t *testing.T) {
	inEachRole(t, func(l *lab, _ int) { l.transport, l.everyone = "udpu", "" })
}

// TestKnet is transport knet, with and without encryption.
func TestKnet(t *testing.T) {
	crypto := []string{"", "aes256 sha256", "aes256 sha256", ""} // each with both deaths
	inEachRole(t, func(l *lab, role int) { l.knet(crypto[role]) })
}

// TestKnetPath has corosync tell how it finds us: up by our pongs, with a delay, and with as long a path as
// to another corosync, which takes our answers to its probes.
func TestKnetPath(t *testing.T) {
	for _, crypto := range []string{"none none", "aes256 sha256"} {
		t.Run(crypto, func(t *testing.T) {
			l := newLab(t)
			l.knet(crypto)
			l.members(2, false)
			path := func(to int, what string) string {
				out := l.ask(1, "corosync-cmapctl", "-m", "stats", "-g", fmt.Sprintf("stats.knet.node%d.link0.%s", to, what))
				_, value, _ := strings.Cut(strings.TrimSpace(out), " = ")
				return value
			}
			harness.Eventually(t, viewLimit, "corosync has measured the path to us", func() error {
				ours, theirs := path(2, "mtu"), path(3, "mtu")
				if n, _ := strconv.Atoi(ours); ours != theirs || n < 1300 {
					return fmt.Errorf("its longest packet to us is %q, and %q to another corosync", ours, theirs)
				}
				for _, what := range []string{"rx_pong_packets", "rx_ping_packets", "tx_pong_packets", "rx_pmtu_packets", "rx_data_packets", "latency_ave", "up_count"} {
					if n, err := strconv.Atoi(path(2, what)); err != nil || n == 0 {
						return fmt.Errorf("%s is %q", what, path(2, what))
					}
				}
				if path(2, "connected") != "1" {
					return fmt.Errorf("connected is %q", path(2, "connected"))
				}
				return nil
			})
		})
	}
}

// TestKnetLoss is an exchange while the network loses 3 % of all packets: corosync's are of up to
// 64 KiB, in fragments, and of many of them one is lost.
func TestKnetLoss(t *testing.T) {
	l := newLab(t)
	l.knet("aes128 sha512")
	list := l.members(1, false)
	l.Lose(30, "udp")
	exchange(t, exchangeLimit, burstMessages, list...)
	if n := l.Lost(); n < 10 {
		t.Errorf("the network lost %d packets: too few to prove anything", n)
	}
}

// TestKnetWrongKey has us alone with another key than the others', and say why.
func TestKnetWrongKey(t *testing.T) {
	l := newLab(t)
	l.knet("none sha384")
	theirs := []*process{l.corosync(1), l.corosync(2)}
	theirs[0].awaitView(viewLimit, 1, 2)
	l.totem = strings.Replace(l.totem, l.key("key"), l.key("other"), 1)
	ours := l.ringnode(3, 0)
	said := ours.await(viewLimit, "notice ring packets are not")
	if !strings.Contains(said, "they are not authentic") || !strings.Contains(said, "10.77.0.") {
		t.Error(said)
	}
	exchange(t, exchangeLimit, burstMessages, theirs...)
	if text := ours.text(); strings.Count(text, "not authentic") > 1 || !strings.Contains(text, "\nview 3") || strings.Contains(text, "view 1") {
		t.Error(text)
	}
}

// TestSealed is a ring of ours alone that is protected over udp or udpu. One dies; a corosync in
// its place that has no key disturbs nobody.
func TestSealed(t *testing.T) {
	for _, transport := range []string{"udp", "udpu"} {
		t.Run(transport, func(t *testing.T) {
			l := newLab(t)
			if transport == "udpu" {
				l.transport, l.everyone = transport, ""
			}
			plain := l.totem
			l.protect("aes256 sha256")
			list := []*process{l.ringnode(1, 0), l.ringnode(2, 0), l.ringnode(3, 0)}
			for _, p := range list {
				p.awaitView(viewLimit, 1, 2, 3)
			}
			exchange(t, exchangeLimit, burstMessages, list...)
			killInFlood(l, list[:2], list[2], list[2].kill)
			l.totem = plain
			l.corosync(3).awaitView(viewLimit, 3)
			list[0].await(viewLimit, "notice ring packets are not")
			exchange(t, exchangeLimit, burstMessages, list[:2]...)
			if text := list[0].text(); !strings.Contains(text, "not encrypted") || strings.Count(text, "view 1 2 3") != 1 {
				t.Error(text)
			}
		})
	}
}

// knet makes it the lab's transport, with a cipher and a hash, or none.
func (l *lab) knet(crypto string) {
	l.t.Helper()
	l.transport, l.everyone = "knet", ""
	if crypto != "" {
		l.protect(crypto)
	}
}

// protect has a cipher and a hash.
func (l *lab) protect(crypto string) {
	l.t.Helper()
	cipher, hash, _ := strings.Cut(crypto, " ")
	l.totem += "\n\tcrypto_cipher: " + cipher + "\n\tcrypto_hash: " + hash + "\n\tkeyfile: " + l.key("key")
}

// key makes a key file, of which each name has another one.
func (l *lab) key(name string) string {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte(name+"!"), 256)[:256], 0o400); err != nil {
		l.t.Fatal(err)
	}
	return path
}
