module github.com/qpidd-cluster/qpidd-cluster

go 1.26.0

require github.com/xdg-go/scram v1.4.0

require (
	github.com/xdg-go/stringprep v1.0.4 // indirect
	golang.org/x/text v0.43.0 // indirect
)
