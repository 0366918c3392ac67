module github.com/qpidd-cluster/qpidd-cluster

go 1.26
