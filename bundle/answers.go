package bundle

import (
	"sync"

	"github.com/opencontainers/go-digest"
)

// answers are those of a registry to questions that many have: each is asked once,
// by whoever needs it first. The zero value has none.
type answers struct {
	mu  sync.Mutex
	all map[string]*answer
}

// answer is what came of one question.
type answer struct {
	once   sync.Once
	digest digest.Digest // of a manifest
	err    error
}

func (a *answers) ask(key string, question func() (digest.Digest, error)) (digest.Digest, error) {
	a.mu.Lock()
	if a.all == nil {
		a.all = map[string]*answer{}
	}
	one := a.all[key]
	if one == nil {
		one = &answer{}
		a.all[key] = one
	}
	a.mu.Unlock()
	one.once.Do(func() { one.digest, one.err = question() })
	return one.digest, one.err
}
