// Package lint holds the house rules as tests: which package may import which, what pure
// parts may not use, that every package is introduced, and how long things may get.
package lint
