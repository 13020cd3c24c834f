package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// restServer answers the calls of the vSphere Automation API that concern guests and hosts, over the simulator's inventory:
// no simulator has them. /rest wraps values and has verbs as paths, /api neither.
type restServer struct {
	username, password string
	limit              int
	api, rest          bool

	lock   sync.Mutex
	tokens map[string]bool
}

func (s *restServer) sessions() int {
	s.lock.Lock()
	defer s.lock.Unlock()
	return len(s.tokens)
}

func (s *restServer) expire(token string) {
	s.lock.Lock()
	defer s.lock.Unlock()
	delete(s.tokens, token)
}

func (s *restServer) expireAll() {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.tokens = map[string]bool{}
}

type call struct {
	w    http.ResponseWriter
	r    *http.Request
	api  bool
	path string
}

// value sends a result.
func (c call) value(value interface{}) {
	if c.api {
		writeJSON(c.w, value)
	} else {
		writeJSON(c.w, map[string]interface{}{"value": value})
	}
}

// done says that an order was carried out.
func (c call) done() {
	if c.api {
		c.w.WriteHeader(http.StatusNoContent)
	} else {
		c.w.WriteHeader(http.StatusOK)
	}
}

// fail sends an error of the interface.
func (c call) fail(status int, name, text string) {
	messages := []map[string]interface{}{{"id": "test", "default_message": text, "args": []string{}}}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	if c.api {
		writeJSON(c.w, map[string]interface{}{"error_type": strings.ToUpper(name), "messages": messages})
	} else {
		writeJSON(c.w, map[string]interface{}{
			"type": "com.vmware.vapi.std.errors." + name, "value": map[string]interface{}{"messages": messages},
		})
	}
}

// filter returns the values of a condition; none: it does not restrict.
func (c call) filter(name string) map[string]bool {
	if !c.api {
		name = "filter." + name
	}
	values := map[string]bool{}
	for _, value := range c.r.URL.Query()[name] {
		values[value] = true
	}
	return values
}

func allows(values map[string]bool, value string) bool {
	return len(values) == 0 || values[value]
}

func (s *restServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := call{w: w, r: r}
	if path := strings.TrimPrefix(r.URL.Path, "/api/"); path != r.URL.Path && s.api {
		c.api, c.path = true, path
	} else if path := strings.TrimPrefix(r.URL.Path, "/rest/"); path != r.URL.Path && s.rest {
		c.path = path
	} else {
		http.NotFound(w, r)
		return
	}
	session := "com/vmware/cis/session"
	if c.api {
		session = "session"
	}
	if c.path == session {
		s.session(c)
		return
	}
	if !s.knows(r) {
		c.fail(http.StatusUnauthorized, "unauthenticated", "This method requires authentication.")
		return
	}
	parts := strings.Split(c.path, "/")
	switch {
	case c.path == "vcenter/vm" && r.Method == http.MethodGet:
		s.list(c)
	case c.path == "vcenter/host" && r.Method == http.MethodGet:
		hosts(c)
	case c.path == "vcenter/datacenter" && r.Method == http.MethodGet:
		datacenters(c)
	case len(parts) >= 3 && parts[0] == "vcenter" && parts[1] == "vm":
		reference := types.ManagedObjectReference{Type: "VirtualMachine", Value: parts[2]}
		vm, ok := simulator.Map.Get(reference).(*simulator.VirtualMachine)
		if !ok {
			c.fail(http.StatusNotFound, "not_found", "Virtual machine with identifier "+parts[2]+" does not exist.")
			return
		}
		guest(c, vm, parts[3:])
	default:
		http.NotFound(w, r)
	}
}

func (s *restServer) knows(r *http.Request) bool {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.tokens[r.Header.Get("vmware-api-session-id")]
}

func (s *restServer) session(c call) {
	switch {
	case c.r.Method == http.MethodPost && c.r.URL.Query().Get("~action") == "get", c.r.Method == http.MethodGet:
		if !s.knows(c.r) {
			c.fail(http.StatusUnauthorized, "unauthenticated", "Not logged in.")
			return
		}
		c.value(map[string]string{"user": s.username})
	case c.r.Method == http.MethodPost:
		user, password, _ := c.r.BasicAuth()
		if user != s.username || password != s.password {
			c.fail(http.StatusUnauthorized, "unauthenticated", "Authentication required.")
			return
		}
		random := make([]byte, 16)
		rand.Read(random)
		token := hex.EncodeToString(random)
		s.lock.Lock()
		if s.tokens == nil {
			s.tokens = map[string]bool{}
		}
		s.tokens[token] = true
		s.lock.Unlock()
		if c.api {
			c.w.WriteHeader(http.StatusCreated)
		}
		c.value(token)
	case c.r.Method == http.MethodDelete:
		s.expire(c.r.Header.Get("vmware-api-session-id"))
		c.done()
	}
}

var powerStates = map[types.VirtualMachinePowerState]string{
	types.VirtualMachinePowerStatePoweredOn:  "POWERED_ON",
	types.VirtualMachinePowerStatePoweredOff: "POWERED_OFF",
	types.VirtualMachinePowerStateSuspended:  "SUSPENDED",
}

var connectionStates = map[types.HostSystemConnectionState]string{
	types.HostSystemConnectionStateConnected:     "CONNECTED",
	types.HostSystemConnectionStateDisconnected:  "DISCONNECTED",
	types.HostSystemConnectionStateNotResponding: "NOT_RESPONDING",
}

// above is the identifier of the datacenter that an object is in.
func above(parent *types.ManagedObjectReference) string {
	for parent != nil && parent.Type != "Datacenter" {
		folder, ok := simulator.Map.Get(*parent).(*simulator.Folder)
		if !ok {
			return ""
		}
		parent = folder.Parent
	}
	if parent == nil {
		return ""
	}
	return parent.Value
}

func (s *restServer) list(c call) {
	names, vms, on, in, states := c.filter("names"), c.filter("vms"), c.filter("hosts"), c.filter("datacenters"), c.filter("power_states")
	found := []map[string]interface{}{}
	for _, entity := range simulator.Map.All("VirtualMachine") {
		vm := entity.(*simulator.VirtualMachine)
		host := ""
		if vm.Runtime.Host != nil {
			host = vm.Runtime.Host.Value
		}
		state := powerStates[vm.Runtime.PowerState]
		if vm.Config.Template || !allows(names, vm.Name) || !allows(vms, vm.Self.Value) || !allows(on, host) ||
			!allows(states, state) || !allows(in, above(vm.Parent)) {
			continue
		}
		found = append(found, map[string]interface{}{
			"vm": vm.Self.Value, "name": vm.Name, "power_state": state, "cpu_count": 1, "memory_size_MiB": 32,
		})
	}
	limit := s.limit
	if limit == 0 {
		limit = 1000
		if c.api {
			limit = 4000
		}
	}
	if len(found) > limit {
		c.fail(http.StatusBadRequest, "unable_to_allocate_resource", fmt.Sprintf("Too many virtual machines. Add more filter criteria to reduce the number below %d.", limit))
		return
	}
	sort.Slice(found, func(a, b int) bool { return found[a]["vm"].(string) < found[b]["vm"].(string) })
	c.value(found)
}

func hosts(c call) {
	states, names := c.filter("connection_states"), c.filter("names")
	found := []map[string]interface{}{}
	for _, entity := range simulator.Map.All("HostSystem") {
		host := entity.(*simulator.HostSystem)
		state := connectionStates[host.Runtime.ConnectionState]
		if allows(states, state) && allows(names, host.Name) {
			found = append(found, map[string]interface{}{"host": host.Self.Value, "name": host.Name, "connection_state": state, "power_state": "POWERED_ON"})
		}
	}
	c.value(found)
}

func datacenters(c call) {
	names := c.filter("names")
	found := []map[string]interface{}{}
	for _, entity := range simulator.Map.All("Datacenter") {
		if name := entity.Entity().Name; allows(names, name) {
			found = append(found, map[string]interface{}{"datacenter": entity.Reference().Value, "name": name})
		}
	}
	c.value(found)
}

func guest(c call, vm *simulator.VirtualMachine, rest []string) {
	state := powerStates[vm.Runtime.PowerState]
	verb := c.r.URL.Query().Get("action")
	if !c.api && len(rest) == 2 {
		verb = rest[1]
	}
	switch {
	case len(rest) == 0 && c.r.Method == http.MethodGet:
		c.value(map[string]interface{}{
			"name": vm.Name, "power_state": state, "guest_OS": "OTHER",
			"identity": map[string]string{"name": vm.Name, "bios_uuid": vm.Config.Uuid, "instance_uuid": vm.Config.InstanceUuid},
		})
	case len(rest) == 1 && rest[0] == "power" && c.r.Method == http.MethodGet:
		c.value(map[string]interface{}{"state": state})
	case len(rest) >= 1 && rest[0] == "power" && c.r.Method == http.MethodPost:
		power(c, vm, verb)
	default:
		http.NotFound(c.w, c.r)
	}
}

// taskOf is the task that an order returned.
func taskOf(body soap.HasFault) types.ManagedObjectReference {
	switch body := body.(type) {
	case *methods.PowerOffVM_TaskBody:
		return body.Res.Returnval
	case *methods.PowerOnVM_TaskBody:
		return body.Res.Returnval
	case *methods.SuspendVM_TaskBody:
		return body.Res.Returnval
	case *methods.ResetVM_TaskBody:
		return body.Res.Returnval
	}
	return types.ManagedObjectReference{}
}

// power carries an order out by the simulator's own task, and answers when it has ended.
func power(c call, vm *simulator.VirtualMachine, verb string) {
	ctx := own()
	if host, ok := simulator.Map.Get(*vm.Runtime.Host).(*simulator.HostSystem); ok && host.Runtime.ConnectionState != types.HostSystemConnectionStateConnected {
		c.fail(http.StatusServiceUnavailable, "service_unavailable", "The host is not connected.")
		return
	}
	var reference types.ManagedObjectReference
	on := vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn
	off := vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOff
	switch {
	case verb == "stop" && off, verb == "start" && on:
		c.fail(http.StatusBadRequest, "already_in_desired_state", "It is so already.")
		return
	case verb == "stop":
		reference = taskOf(vm.PowerOffVMTask(ctx, &types.PowerOffVM_Task{This: vm.Self}))
	case verb == "start":
		reference = taskOf(vm.PowerOnVMTask(ctx, &types.PowerOnVM_Task{This: vm.Self}))
	case verb == "suspend" && on:
		reference = taskOf(vm.SuspendVMTask(ctx, &types.SuspendVM_Task{This: vm.Self}))
	case verb == "reset" && on:
		reference = taskOf(vm.ResetVMTask(ctx, &types.ResetVM_Task{This: vm.Self}))
	default:
		c.fail(http.StatusBadRequest, "not_allowed_in_current_state", "Not in this state.")
		return
	}
	if task, ok := simulator.Map.Get(reference).(*simulator.Task); !ok || task.Info.State != types.TaskInfoStateSuccess {
		c.fail(http.StatusInternalServerError, "error", "The task failed.")
		return
	}
	c.done()
}
