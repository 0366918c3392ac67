package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReadHeap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	text := "qpidd: hello\n" +
		"gc 1 @0.012s 2%: 0.02+1.1+0.03 ms clock, 0.05+0.1/0.9/0.2+0.07 ms cpu, 4->9->7 MB, 5 MB goal, 0 MB stacks, 0 MB globals, 2 P\n" +
		"gc 2 @2.112s 0%: 0.02+1.1+0.03 ms clock, 0.05+0.1/0.9/0.2+0.07 ms cpu, 5->6->3 MB, 6 MB goal, 0 MB stacks, 0 MB globals, 2 P (forced)\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := readHeap(path)
	want := heap{Collections: 2, LiveBytes: 3 << 20, GoalBytes: 6 << 20, MostLiveBytes: 7 << 20, MostBytes: 9 << 20}
	if err != nil || h != want {
		t.Errorf("%+v, %v", h, err)
	}
	if err := os.WriteFile(path, []byte("nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readHeap(path); err == nil {
		t.Error("a process that traced nothing is no error")
	}
}
