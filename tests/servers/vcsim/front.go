package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// The method a SOAP request calls, and the object it calls it on.
var method = regexp.MustCompile(`<(?:\w+:)?Body[^>]*>\s*<(?:\w+:)?(\w+)`)
var object = regexp.MustCompile(`<(?:\w+:)?_this[^>]*>([^<]+)<`)

// What the longest log of requests keeps.
const kept = 5000

// A fault that is ordered for requests of one method.
type fault struct {
	Method string
	Kind   string
	Count  int
	Delay  time.Duration
	Detail string
	Status int
}

type request struct {
	Method string
	Body   string
	Agent  string
}

// front is what clients talk to.
type front struct {
	sdk                http.Handler
	rest               *restServer
	wire               *wire
	wsdl               string
	username, password string

	lock     sync.Mutex
	counts   map[string]int
	log      []request
	in, out  int
	faults   []*fault
	sessions map[string]bool
}

// counter counts what is sent.
type counter struct {
	http.ResponseWriter
	bytes int
}

func (c *counter) Write(data []byte) (int, error) {
	n, err := c.ResponseWriter.Write(data)
	c.bytes += n
	return n, err
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	name := f.name(r, body)
	f.lock.Lock()
	f.counts[name]++
	f.in += len(body)
	if len(f.log) < kept {
		f.log = append(f.log, request{name, string(body), r.UserAgent()})
	}
	ordered := f.take(name)
	f.lock.Unlock()

	out := &counter{ResponseWriter: w}
	defer func() {
		f.lock.Lock()
		f.out += out.bytes
		f.lock.Unlock()
	}()
	r.Body = io.NopCloser(bytes.NewReader(body))
	if ordered != nil && f.fail(out, r, body, ordered) {
		return
	}
	f.serve(out, r, body, name)
}

// serve answers as the server would.
func (f *front) serve(w http.ResponseWriter, r *http.Request, body []byte, name string) {
	switch {
	case r.URL.Path == "/sdk":
		if name == "FindAllByUuid" && f.isLoggedIn(r) {
			findAllByUUID(w, body)
			return
		}
		recorder := httptest.NewRecorder()
		f.sdk.ServeHTTP(recorder, r)
		f.follow(r, recorder, name)
		pass(w, recorder)
	case strings.HasPrefix(r.URL.Path, "/sdk/") && f.wsdl != "" && r.URL.Path != "/sdk/vimServiceVersions.xml":
		file, err := os.ReadFile(filepath.Join(f.wsdl, filepath.Base(r.URL.Path)))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/xml")
		w.Write(file)
	case strings.HasPrefix(r.URL.Path, "/rest/"), strings.HasPrefix(r.URL.Path, "/api/"):
		f.rest.ServeHTTP(w, r)
	default:
		f.sdk.ServeHTTP(w, r)
	}
}

func pass(w http.ResponseWriter, recorder *httptest.ResponseRecorder) {
	for key, values := range recorder.Header() {
		w.Header()[key] = values
	}
	w.WriteHeader(recorder.Code)
	w.Write(recorder.Body.Bytes())
}

// follow keeps account of the SOAP sessions that are open.
func (f *front) follow(r *http.Request, recorder *httptest.ResponseRecorder, name string) {
	f.lock.Lock()
	defer f.lock.Unlock()
	response := recorder.Result()
	for _, cookie := range response.Cookies() {
		if cookie.Name == "vmware_soap_session" && name == "Login" && response.StatusCode == http.StatusOK {
			f.sessions[cookie.Value] = true
		}
	}
	if cookie, err := r.Cookie("vmware_soap_session"); err == nil && name == "Logout" && response.StatusCode == http.StatusOK {
		delete(f.sessions, cookie.Value)
	}
}

func (f *front) isLoggedIn(r *http.Request) bool {
	f.lock.Lock()
	defer f.lock.Unlock()
	cookie, err := r.Cookie("vmware_soap_session")
	return err == nil && f.sessions[cookie.Value]
}

// name is what a request is called in counts and faults: the SOAP method, or the REST method and path without identifiers.
func (f *front) name(r *http.Request, body []byte) string {
	if r.URL.Path == "/sdk" && r.Method == http.MethodPost {
		if found := method.FindSubmatch(body); found != nil {
			return string(found[1])
		}
		return "unreadable"
	}
	path := regexp.MustCompile(`/vm-\d+`).ReplaceAllString(r.URL.Path, "/{vm}")
	if action := r.URL.Query().Get("action"); action != "" {
		path += "?" + action
	}
	return r.Method + " " + path
}

// take finds the fault that is next for a method. The lock is held.
func (f *front) take(name string) *fault {
	for at, ordered := range f.faults {
		if ordered.Method == name || ordered.Method == "*" {
			ordered.Count--
			if ordered.Count == 0 {
				f.faults = append(f.faults[:at:at], f.faults[at+1:]...)
			}
			return ordered
		}
	}
	return nil
}

// fail answers wrongly; false lets the server answer after all.
func (f *front) fail(w http.ResponseWriter, r *http.Request, body []byte, ordered *fault) bool {
	switch ordered.Kind {
	case "hang":
		select {
		case <-r.Context().Done():
		case <-time.After(2 * time.Minute):
		}
		return true
	case "delay":
		time.Sleep(ordered.Delay)
		return false
	case "status":
		w.WriteHeader(ordered.Status)
		io.WriteString(w, ordered.Detail)
		return true
	case "page":
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<html><head><title>Web gateway: sign in</title></head><body><form></form></body></html>")
		return true
	case "redirect":
		http.Redirect(w, r, ordered.Detail, http.StatusMovedPermanently)
		return true
	case "drop":
		// The request is carried out and its answer lost.
		f.serve(httptest.NewRecorder(), r, body, f.name(r, body))
		panic(http.ErrAbortHandler)
	case "truncate":
		recorder := httptest.NewRecorder()
		f.serve(recorder, r, body, f.name(r, body))
		whole := recorder.Body.Bytes()
		for key, values := range recorder.Header() {
			w.Header()[key] = values
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(whole)))
		w.WriteHeader(recorder.Code)
		w.Write(whole[:len(whole)/2])
		panic(http.ErrAbortHandler)
	case "cut":
		// Whole as HTTP, and not as XML or JSON.
		recorder := httptest.NewRecorder()
		f.serve(recorder, r, body, f.name(r, body))
		whole := recorder.Body.Bytes()
		w.WriteHeader(recorder.Code)
		w.Write(whole[:len(whole)/2])
		return true
	case "replace":
		// The answer with one text in it replaced: OLD=>NEW, a regular expression.
		recorder := httptest.NewRecorder()
		f.serve(recorder, r, body, f.name(r, body))
		old, new, _ := strings.Cut(ordered.Detail, "=>")
		changed := regexp.MustCompile(old).ReplaceAll(recorder.Body.Bytes(), []byte(new))
		for key, values := range recorder.Header() {
			w.Header()[key] = values
		}
		w.WriteHeader(recorder.Code)
		w.Write(changed)
		return true
	case "expire":
		// The server has ended the session.
		f.expire(r)
		return false
	case "fault":
		// DETAIL is the fault's type, with elements of it after a blank.
		name, elements, _ := strings.Cut(ordered.Detail, " ")
		soapFault(w, name, elements)
		return true
	case "task":
		// A task that begins later, and fails with DETAIL if there is any.
		slowTask(w, r, body, ordered, f.serveQuietly)
		return true
	}
	http.Error(w, "no such kind of fault: "+ordered.Kind, http.StatusTeapot)
	return true
}

func (f *front) serveQuietly(r *http.Request, body []byte) {
	f.serve(httptest.NewRecorder(), r, body, f.name(r, body))
}

func soapFault(w http.ResponseWriter, name, elements string) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(http.StatusInternalServerError)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>
<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>ordered by the test</faultstring><detail><%[1]sFault xmlns="urn:vim25" xsi:type="%[1]s">%[2]s</%[1]sFault></detail></soapenv:Fault>
</soapenv:Body></soapenv:Envelope>`, name, elements)
}

func answer(w http.ResponseWriter, method, content string) {
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body><%[1]sResponse xmlns="urn:vim25">%[2]s</%[1]sResponse></soapenv:Body></soapenv:Envelope>`, method, content)
}

// The simulator of Debian 12 does not have it; ESX and vCenter have since 4.1.
func findAllByUUID(w http.ResponseWriter, body []byte) {
	wanted := regexp.MustCompile(`<uuid>([^<]*)</uuid>`).FindSubmatch(body)
	instance := bytes.Contains(body, []byte("<instanceUuid>true</instanceUuid>"))
	if wanted == nil {
		soapFault(w, "InvalidRequest", "")
		return
	}
	var found strings.Builder
	for _, entity := range simulator.Map.All("VirtualMachine") {
		vm := entity.(*simulator.VirtualMachine)
		has := vm.Config.Uuid
		if instance {
			has = vm.Config.InstanceUuid
		}
		if strings.EqualFold(has, string(wanted[1])) {
			fmt.Fprintf(&found, `<returnval type="VirtualMachine">%s</returnval>`, vm.Self.Value)
		}
	}
	answer(w, "FindAllByUuid", found.String())
}

// slowTask answers with a task at once, and carries the request out later, or never.
func slowTask(w http.ResponseWriter, r *http.Request, body []byte, ordered *fault, carryOut func(*http.Request, []byte)) {
	name := string(method.FindSubmatch(body)[1])
	reference := types.ManagedObjectReference{Type: "VirtualMachine", Value: string(object.FindSubmatch(body)[1])}
	entity := simulator.Map.Get(reference)
	later := r.Clone(r.Context())
	later.Body = io.NopCloser(bytes.NewReader(body))
	task := simulator.CreateTask(entity, strings.TrimSuffix(name, "_Task"), func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		if ordered.Detail != "" {
			return nil, faultOf(ordered.Detail)
		}
		carryOut(later, body)
		return nil, nil
	})
	go func() {
		time.Sleep(ordered.Delay)
		task.Run()
	}()
	answer(w, name, fmt.Sprintf(`<returnval type="Task">%s</returnval>`, task.Self.Value))
}

func faultOf(name string) types.BaseMethodFault {
	switch name {
	case "TaskInProgress":
		return &types.TaskInProgress{}
	case "InvalidState":
		return &types.InvalidState{}
	case "HostNotConnected":
		return &types.HostNotConnected{}
	case "RestrictedVersion":
		return &types.RestrictedVersion{}
	case "FileLocked":
		return &types.FileLocked{}
	case "NoPermission":
		return &types.NoPermission{PrivilegeId: "VirtualMachine.Interact.PowerOff"}
	case "InvalidPowerState":
		return &types.InvalidPowerState{RequestedState: "poweredOff", ExistingState: "suspended"}
	}
	return &types.SystemError{Reason: name}
}

func writeJSON(w http.ResponseWriter, value interface{}) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(value)
}
