// The vCenter simulator of govmomi, with what the tests of fence_vmware need beside it: the REST calls for guests, the WSDL
// that the packaged SOAP agent downloads, FindAllByUuid, and in front of all of it a log of requests and faults on demand.
//
// Everything about guests is the simulator's; nothing here pretends to be a guest. Built from Debian's packages:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o vcsim .
//
// On a second port the tests count requests, order faults and change what no client of vSphere can change.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/esx"
	"github.com/vmware/govmomi/simulator/vpx"
)

func main() {
	listen := flag.String("l", "127.0.0.1:0", "address to listen on; printed when it is open")
	username := flag.String("username", "root", "login name")
	password := flag.String("password", "secret", "password")
	host := flag.Bool("esx", false, "be a host of its own, not vCenter")
	version := flag.String("api-version", "", "version of the interface to claim")
	machines := flag.Int("vm", 5, "guests per resource pool: one pool on a host, two in vCenter")
	hosts := flag.Int("host", 3, "hosts of the cluster")
	apps := flag.Int("app", 0, "vApps in the cluster, with guests of their own")
	folders := flag.Int("folder", 0, "folders in which the datacenter lies")
	wsdl := flag.String("wsdl", "", "directory with vimService.wsdl and what it imports")
	cert := flag.String("cert", "", "certificate chain (PEM), for TLS")
	key := flag.String("key", "", "its key (PEM)")
	restLimit := flag.Int("rest-limit", 0, "guests a REST list returns at most; 0: 1000 for /rest, 4000 for /api")
	noAPI := flag.Bool("no-api", false, "serve /rest only, as vCenter before 7.0 U2")
	flag.Parse()

	if *version != "" {
		vpx.ServiceContent.About.ApiVersion = *version
		esx.ServiceContent.About.ApiVersion = *version
	}
	model := simulator.VPX()
	if *host {
		model = simulator.ESX()
	} else {
		model.ClusterHost = *hosts
		model.App = *apps
		model.Folder = *folders
	}
	model.Machine = *machines
	if err := model.Create(); err != nil {
		log.Fatal(err)
	}
	defer model.Remove()

	mux := http.NewServeMux()
	model.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword(*username, *password)}
	model.Service.ServeMux = mux
	inner := model.Service.NewServer()
	defer inner.Close()

	rest := &restServer{username: *username, password: *password, limit: *restLimit, api: !*noAPI && !*host, rest: !*host}
	front := &front{
		sdk: mux, rest: rest, wsdl: *wsdl, username: *username, password: *password,
		counts: map[string]int{}, sessions: map[string]bool{},
	}

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	front.wire = &wire{Listener: listener}
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			log.Fatal(err)
		}
		// HTTP/1.1 only: no vCenter of the time spoke anything else.
		front.wire.Listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair}})
	}
	server := &http.Server{Handler: front, ErrorLog: log.New(os.Stderr, "", 0)}
	// What the tests say and ask goes past TLS and past the log.
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Print(http.Serve(control, http.HandlerFunc(front.control))) }()
	fmt.Printf("listening on %s control on %s\n", listener.Addr(), control.Addr())
	go func() { log.Print(server.Serve(front.wire)) }()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
}
