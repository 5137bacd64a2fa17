module example.com/register

go 1.21

require go.etcd.io/etcd/client/v3 v3.5.17
