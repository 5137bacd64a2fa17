// Registers a service in etcd. Copy Keep; main is a service that uses it.
package main

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log"
	"math/rand"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Node is a node of a service, as the gateway reads it.
type Node struct {
	Key      string `json:"key"`
	Service  string `json:"service_name"`
	Upstream string `json:"upstream"`
	Weight   int    `json:"weight"`
	Status   int    `json:"status"`
	Time     int64  `json:"time"`
}

// Keep keeps a node registered until the context ends, and returns when it is gone.
func Keep(ctx context.Context, etcd *clientv3.Client, prefix string, node Node, ttl int64) {
	sum := md5.Sum([]byte(node.Service + node.Upstream))
	node.Key = node.Service + "." + hex.EncodeToString(sum[:])
	for ctx.Err() == nil {
		if err := hold(ctx, etcd, prefix+"discovery/"+node.Key, node, ttl); err != nil {
			log.Printf("not registered, trying again: %v", err)
		}
		// Not all services at the same time.
		pause := time.Duration(500+rand.Intn(1000)) * time.Millisecond
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// hold registers the node and keeps its lease alive until that is lost or the context ends.
func hold(ctx context.Context, etcd *clientv3.Client, key string, node Node, ttl int64) error {
	node.Time = time.Now().UnixMilli()
	value, err := json.Marshal(node)
	if err != nil {
		return err
	}
	call, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	lease, err := etcd.Grant(call, ttl)
	if err != nil {
		return err
	}
	defer func() {
		// The service's context has ended: this call needs one of its own.
		call, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if _, err := etcd.Revoke(call, lease.ID); err != nil {
			log.Printf("the node goes when its lease ends: %v", err)
		}
	}()
	if _, err := etcd.Put(call, key, string(value), clientv3.WithLease(lease.ID)); err != nil {
		return err
	}
	beats, err := etcd.KeepAlive(ctx, lease.ID)
	if err != nil {
		return err
	}
	log.Printf("registered %s", key)
	for range beats {
	}
	if ctx.Err() != nil {
		return nil
	}
	return errors.New("the lease is lost")
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	upstream := env("UPSTREAM", "127.0.0.1:8080")
	ttl, err := strconv.ParseInt(env("TTL", "10"), 10, 64)
	if err != nil {
		log.Fatalf("TTL: %v", err)
	}
	// Listen first: requests come as soon as the node is registered.
	listener, err := net.Listen("tcp", upstream)
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("hello from go\n"))
	})}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
	}()
	etcd, err := clientv3.New(clientv3.Config{
		Endpoints:            strings.Split(env("ETCD", "http://127.0.0.1:2379"), ","),
		DialKeepAliveTime:    3 * time.Second,
		DialKeepAliveTimeout: 2 * time.Second,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer etcd.Close()
	node := Node{Service: env("SERVICE", "demo1"), Upstream: upstream, Weight: 1, Status: 1}
	Keep(ctx, etcd, env("DATA_PREFIX", "/my/cloud/"), node, ttl)
	_ = server.Shutdown(context.Background())
}
