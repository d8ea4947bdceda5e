package bundle

// Event is one fact about work under way. The package reports, the caller draws.
type Event struct {
	Phase string // what is being done: "plan", "fetch", "verify", "push"
	Unit  string // of Done and Total: "bytes" or "images"
	Done  int64  // so far in this phase
	Total int64  // of this phase; 0 while it is not known
	Note  string // a line worth showing by itself, else ""
}

// Progress takes events, from one goroutine at a time. It must not block for
// long: the work waits for it.
type Progress func(Event)
