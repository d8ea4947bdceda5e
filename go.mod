module airlift

go 1.26.0

require (
	github.com/cenkalti/backoff/v5 v5.0.3 // waits between tries, honouring Retry-After and cancellation
	github.com/creack/pty v1.1.24 // tests: a terminal to draw the progress bar on
	github.com/dustin/go-humanize v1.1.0 // sizes for people, and sizes that people type
	github.com/gofrs/flock v0.13.1 // one export at a time in a directory
	github.com/google/go-cmp v0.7.0 // tests: differences
	github.com/google/go-containerregistry v0.22.1 // references, authentication and its transport
	github.com/klauspost/compress v1.20.3 // gzip and zstd layers, to read files out of a payload
	github.com/opencontainers/go-digest v1.0.0 // digests as the image-spec has them
	github.com/opencontainers/image-spec v1.1.1 // descriptors, media types and the layout
	github.com/rogpeppe/go-internal v1.16.0 // tests: scripts of commands (testscript)
	github.com/schollz/progressbar/v3 v3.19.1 // the progress bar
	github.com/sirupsen/logrus v1.10.2 // what a library logs with: tests look there for secrets
	github.com/urfave/cli/v2 v2.27.7 // the command line
	github.com/youmark/pkcs8 v0.0.0-20240726163527-a2c0da244d78 // signing keys behind a passphrase
	go.podman.io/image/v5 v5.42.0 // credentials, looked up as podman does
	go.yaml.in/yaml/v2 v2.4.2 // splits YAML documents, which sigs.k8s.io/yaml cannot; part of that anyway
	golang.org/x/crypto v0.58.0 // bcrypt, for the users of a registry
	golang.org/x/sync v0.24.0 // errgroup
	golang.org/x/sys v0.49.0 // free space of a medium
	golang.org/x/term v0.47.0 // is it a terminal; passphrases without echo
	sigs.k8s.io/yaml v1.6.0 // YAML as Kubernetes reads and writes it
)

require (
	github.com/BurntSushi/toml v1.6.0 // indirect
	github.com/cpuguy83/go-md2man/v2 v2.0.7 // indirect
	github.com/docker/cli v29.9.0+incompatible // indirect
	github.com/docker/docker-credential-helpers v0.9.10 // indirect
	github.com/docker/go-units v0.5.0 // indirect
	github.com/mitchellh/colorstring v0.0.0-20190213212951-d06e56a500db // indirect
	github.com/moby/sys/capability v0.4.0 // indirect
	github.com/moby/sys/mountinfo v0.7.2 // indirect
	github.com/moby/sys/user v0.4.1 // indirect
	github.com/opencontainers/runtime-spec v1.3.0 // indirect
	github.com/rivo/uniseg v0.4.7 // indirect
	github.com/russross/blackfriday/v2 v2.1.0 // indirect
	github.com/xrash/smetrics v0.0.0-20240521201337-686a1a2994c1 // indirect
	go.podman.io/storage v1.65.0 // indirect
	golang.org/x/tools v0.49.0 // indirect
	gotest.tools/v3 v3.5.2 // indirect
)
