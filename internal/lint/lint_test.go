package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/qpidd-cluster/qpidd-cluster/"

// file is one Go file of the tree.
type file struct {
	path, dir string // slash-separated, from the root
	test      bool
	generated bool
	lines     int
	syntax    *ast.File
	set       *token.FileSet
}

func tree(t *testing.T) (files []file) {
	t.Helper()
	root := "../.."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root || d.Name() == "node_modules" || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		f := file{path: filepath.ToSlash(rel), dir: filepath.ToSlash(filepath.Dir(rel)),
			test: strings.HasSuffix(path, "_test.go"), set: token.NewFileSet(),
			lines: strings.Count(string(b), "\n")}
		f.generated = strings.Contains(string(b[:min(len(b), 200)]), "DO NOT EDIT")
		if f.syntax, err = parser.ParseFile(f.set, path, b, parser.ParseComments); err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("only %d files found: the walk went wrong", len(files))
	}
	return files
}

func imports(f *file) (list []string) {
	for _, i := range f.syntax.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		list = append(list, p)
	}
	return list
}

// arrows says which of our own packages each part may import. The longest prefix counts.
var arrows = map[string][]string{
	"bpf":            {},
	"ring/wire":      {},
	"ring/pack":      {"ring/wire"},
	"ring/totem":     {"ring/wire"},
	"ring/cpg":       {"ring/wire", "ring/totem", "ring/pack"},
	"ring/link":      {"ring/wire"},
	"ring/link/knet": {"ring/wire"},
	"ring/link/seal": {},
	"ring/corosync":  {"ring/wire", "ring/cpg"},
	"ring/conf":      {},
	"ring/ringtest":  {"ring"},
	"journal":        {},
	"journal/disk":   {"journal"},
	"amqp":           {"amqp"},
	"broker":         {},
	"broker/session": {"broker", "amqp"},
	"cluster":        {"ring", "journal", "broker"},
	"host":           {},
	"manage":         {"cluster", "ring", "journal", "broker"},
	"daemon":         {"manage", "cluster", "broker", "host", "ring", "journal", "amqp/sasl", "bpf", "daemon"},
	"cmd":            {"daemon", "perf"},
	"perf":           {"perf", "ring", "journal", "bpf", "daemon/datapath", "daemon/config", "manage/metrics", "internal/netlab", "internal/testdisk"},
	"test":           {"daemon", "bpf", "cluster", "broker", "ring", "journal", "perf", "test", "amqp", "internal/netlab", "internal/testdisk"},
	"internal":       {},
	"systemd":        {},
	"packaging":      {"daemon", "ring/conf"},
}

func rule(dir string) ([]string, string, bool) {
	for d := dir; d != "."; d = filepath.ToSlash(filepath.Dir(d)) {
		if allowed, ok := arrows[d]; ok {
			return allowed, d, true
		}
	}
	return nil, "", false
}

func TestImportsPointOneWay(t *testing.T) {
	for _, f := range tree(t) {
		allowed, owner, ok := rule(f.dir)
		if !ok {
			t.Errorf("%s: no rule says what its package may import", f.path)
			continue
		}
		for _, p := range imports(&f) {
			rel, ours := strings.CutPrefix(p, module)
			if !ours || rel == owner || strings.HasPrefix(rel, owner+"/") && owner != "journal" && owner != "broker" {
				continue
			}
			if f.test && rel == "journal/disk/faulty" {
				continue
			}
			if f.test && (strings.HasPrefix(rel, "ring/") && strings.HasPrefix(owner, "ring/") || owner == "broker/session") {
				continue
			}
			if !slices.ContainsFunc(allowed, func(a string) bool { return rel == a || strings.HasPrefix(rel, a+"/") }) {
				t.Errorf("%s imports %s; %s may import %v", f.path, rel, owner, allowed)
			}
		}
	}
}

// pure lists the parts without clocks, sockets, files, goroutines, locks and logging.
var pure = []string{"ring/wire", "ring/pack", "ring/totem", "ring/cpg", "ring/conf", "ring/corosync/group", "ring/link/knet", "ring/link/seal", "journal", "amqp", "broker", "cluster"}

// impure lists what they may not import. journal counts its readers with sync/atomic.
var impure = []string{"net", "os", "log", "log/slog", "sync", "math/rand", "math/rand/v2", "crypto/rand", "syscall", "os/exec", "io/fs"}

func isPure(dir string) bool {
	if dir == "journal/disk" || strings.Contains(dir, "/gen") {
		return false
	}
	return slices.ContainsFunc(pure, func(p string) bool { return dir == p || strings.HasPrefix(dir, p+"/") })
}

func TestPurePartsArePure(t *testing.T) {
	for _, f := range tree(t) {
		if f.test || !isPure(f.dir) {
			continue
		}
		for _, p := range imports(&f) {
			if slices.Contains(impure, p) || strings.HasPrefix(p, "golang.org/x/sys") {
				t.Errorf("%s is in a pure part and imports %s", f.path, p)
			}
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a goroutine in a pure part", f.set.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker"}, n.Sel.Name) {
					t.Errorf("%s: time.%s in a pure part", f.set.Position(n.Pos()), n.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestPackagesAreIntroduced(t *testing.T) {
	introduced := map[string]bool{}
	dirs := map[string]string{}
	for _, f := range tree(t) {
		if f.test {
			continue
		}
		dirs[f.dir] = f.path
		if f.syntax.Doc != nil && (strings.HasSuffix(f.path, "/doc.go") || f.syntax.Name.Name == "main") {
			introduced[f.dir] = true
		}
	}
	for dir := range dirs {
		if !introduced[dir] {
			t.Errorf("%s has no doc.go that says what it is", dir)
		}
	}
}

// Lengths that keep code readable, and the few files that may differ.
const (
	maxFileLines     = 800
	maxFunctionLines = 70
)

func TestNothingIsTooLong(t *testing.T) {
	for _, f := range tree(t) {
		if f.generated {
			continue
		}
		if f.lines > maxFileLines {
			t.Errorf("%s has %d lines, %d are the most", f.path, f.lines, maxFileLines)
		}
		if f.test {
			continue
		}
		for _, d := range f.syntax.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			n := f.set.Position(fn.End()).Line - f.set.Position(fn.Pos()).Line + 1
			if n > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, %d are the most", f.path, fn.Name.Name, n, maxFunctionLines)
			}
		}
	}
}

func TestNoTestSleeps(t *testing.T) {
	for _, f := range tree(t) {
		if !f.test && !strings.HasPrefix(f.dir, "test/") {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Sleep" {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
					t.Errorf("%s: a test waits for what it wants to see, it does not sleep", f.set.Position(n.Pos()))
				}
			}
			return true
		})
	}
}

func TestNoPackageWithoutAName(t *testing.T) {
	for _, f := range tree(t) {
		if slices.Contains([]string{"util", "utils", "common", "types", "core", "pkg", "misc", "helpers"}, f.syntax.Name.Name) {
			t.Errorf("%s: package %s says nothing", f.path, f.syntax.Name.Name)
		}
	}
}
