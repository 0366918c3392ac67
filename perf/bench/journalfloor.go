package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// The least that a server can do that confirms what is on its disk: it reads requests of many
// connections, writes all that are there with one write and one flush, and answers them. It knows no
// protocol, no queues and no consumers. What it reaches bounds what a broker on the same machine can.

const (
	// What amqp091-go sends for a message of 256 bytes, and what it gets for it.
	floorRequest = 350
	floorAnswer  = 21
	floorFile    = 64 << 20
	floorBlock   = 4096
)

func floorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "floor FILE", Short: "A server that flushes and answers, for the journal's benchmark", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return serveFloor(args[0]) },
	}
}

// serveFloor says where it listens, and serves until its standard input ends.
func serveFloor(path string) error {
	file, err := openFloor(path)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	arrived := make(chan net.Conn, 1024)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go readFloor(c, arrived)
		}
	}()
	failed := make(chan error, 1)
	go func() { failed <- file.answer(arrived) }()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		failed <- nil
	}()
	fmt.Println(l.Addr())
	return <-failed
}

// readFloor reads requests.
func readFloor(c net.Conn, arrived chan<- net.Conn) {
	r, request := bufio.NewReader(c), make([]byte, floorRequest)
	for {
		if _, err := io.ReadFull(r, request); err != nil {
			c.Close()
			return
		}
		arrived <- c
	}
}

// floorDisk is a file that is written over and over, as fio writes its.
type floorDisk struct {
	file  *os.File
	block []byte
}

func openFloor(path string) (*floorDisk, error) {
	block, err := unix.Mmap(-1, 0, floorBlock*64, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_DIRECT, 0o600)
	if errors.Is(err, unix.EINVAL) {
		file, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	}
	if err != nil {
		return nil, err
	}
	for at := int64(0); at < floorFile && err == nil; at += int64(len(block)) {
		_, err = file.WriteAt(block, at)
	}
	return &floorDisk{file, block}, errors.Join(err, file.Sync())
}

// answer writes and flushes for all requests that are there, and answers them.
func (d *floorDisk) answer(arrived <-chan net.Conn) error {
	reply := make([]byte, floorAnswer)
	var list []net.Conn
	for at := int64(0); ; {
		list = append(list[:0], <-arrived)
		for more := true; more; {
			select {
			case c := <-arrived:
				list = append(list, c)
			default:
				more = false
			}
		}
		n := (len(list)*floorRequest + floorBlock - 1) / floorBlock * floorBlock
		n = min(n, len(d.block))
		if at+int64(n) > floorFile {
			at = 0
		}
		if _, err := d.file.WriteAt(d.block[:n], at); err != nil {
			return err
		}
		if err := unix.Fdatasync(int(d.file.Fd())); err != nil {
			return err
		}
		at += int64(n)
		for _, c := range list {
			c.Write(reply) // who is gone needs none
		}
	}
}

// floor measures that server with so many clients, each with one request under way: answers a second.
func floor(ctx context.Context, path string, clients int, warmUp, duration time.Duration) (perSecond float64, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, self, "floor", path)
	cmd.Stderr = os.Stderr
	stop, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		stop.Close()
		err = errors.Join(err, cmd.Wait(), os.Remove(path))
	}()
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return 0, err
	}
	var answers atomic.Int64
	var all sync.WaitGroup
	defer all.Wait()
	for range clients {
		c, err := net.Dial("tcp", strings.TrimSpace(address))
		if err != nil {
			return 0, err
		}
		defer c.Close()
		all.Go(func() {
			request, reply := make([]byte, floorRequest), make([]byte, floorAnswer)
			for {
				if _, err := c.Write(request); err != nil {
					return
				}
				if _, err := io.ReadFull(c, reply); err != nil {
					return
				}
				answers.Add(1)
			}
		})
	}
	if err := pause(ctx, warmUp); err != nil {
		return 0, err
	}
	before, started := answers.Load(), time.Now()
	if err := pause(ctx, duration); err != nil {
		return 0, err
	}
	return float64(answers.Load()-before) / time.Since(started).Seconds(), nil
}
