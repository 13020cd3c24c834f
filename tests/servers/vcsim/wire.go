package main

import (
	"net"
	"sync"
)

// wire is a listener that counts what its connections carry of HTTP, heads included, TLS not.
type wire struct {
	net.Listener

	lock    sync.Mutex
	in, out int
}

type counted struct {
	net.Conn
	wire *wire
}

func (w *wire) Accept() (net.Conn, error) {
	conn, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &counted{Conn: conn, wire: w}, nil
}

func (w *wire) sums() (in, out int) {
	w.lock.Lock()
	defer w.lock.Unlock()
	return w.in, w.out
}

func (w *wire) reset() {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.in, w.out = 0, 0
}

func (w *wire) count(in, out int) {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.in, w.out = w.in+in, w.out+out
}

func (c *counted) Read(data []byte) (int, error) {
	n, err := c.Conn.Read(data)
	c.wire.count(n, 0)
	return n, err
}

// Write counts first: a client that has its answer finds it counted.
func (c *counted) Write(data []byte) (int, error) {
	c.wire.count(0, len(data))
	return c.Conn.Write(data)
}
