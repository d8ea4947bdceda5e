package bundle_test

import (
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"airlift/bundle"
	"airlift/oci/ocitest"
)

// TestPartsAreOnlyBegunToBeEnded: an import to which no other medium will come
// begins no blob that it cannot end; one that ends before the last medium came
// gives up what it has begun.
func TestPartsAreOnlyBegunToBeEnded(t *testing.T) {
	t.Parallel()
	src := ocitest.StartRegistry(t)
	media, whole := threeMedia(t, client(t, src.Host), src, true)
	dst := ocitest.Misbehave(t, ocitest.StartRegistry(t).Host, nil)
	c, o := client(t, dst.Host, dst.Host), bundle.ImportOptions{Placement: to(t, dst.Host)}
	_, err := openAt(t, whole, media[0], media[1]).Import(t.Context(), c, o)
	wantAbsent(t, err, []string{"bundle.tar.004", "bundle.tar.005"}, []string{"bundle.tar.003", "bundle.tar.004", "bundle.tar.005"})
	if n := dst.Count(http.MethodPatch, ""); n != 0 {
		t.Errorf("%d parts were sent", n)
	}
	importer := bundle.NewImporter(c, o)
	_, err = importer.Medium(t.Context(), openAt(t, whole, media[0], media[1]))
	wantAbsent(t, err, []string{"bundle.tar.004", "bundle.tar.005"}, []string{"bundle.tar.003", "bundle.tar.004", "bundle.tar.005"})
	if n := dst.Count(http.MethodPatch, ""); n != 1 {
		t.Errorf("%d parts were sent, there is one", n)
	}
	asked := dst.Count(http.MethodDelete, "/blobs/uploads/") // for leave to push
	importer.Close(t.Context())
	if n := dst.Count(http.MethodDelete, "/blobs/uploads/") - asked; n != 1 {
		t.Errorf("%d uploads were given up", n)
	}
}

// wantAbsent fails unless err says exactly which volumes are still to come, and
// over which of them a blob is cut.
func wantAbsent(t *testing.T, err error, volumes, cut []string) {
	t.Helper()
	var absent *bundle.AbsentError
	if !errors.As(err, &absent) {
		t.Errorf("error is %v", err)
	} else if !slices.Equal(absent.Volumes, volumes) || !slices.Equal(absent.Cut, cut) {
		t.Errorf("still to come are %s, cut are %s, want %s and %s", absent.Volumes, absent.Cut, volumes, cut)
	}
}

// wantVolumes fails unless err says that these volumes are among those still to come.
func wantVolumes(t *testing.T, err error, volumes ...string) {
	t.Helper()
	var absent *bundle.AbsentError
	if !errors.As(err, &absent) {
		t.Errorf("error is %v", err)
		return
	}
	for _, v := range volumes {
		if !slices.Contains(absent.Volumes, v) {
			t.Errorf("%s is not among what is still to come: %s", v, absent.Volumes)
		}
	}
}

// TestPartsOutOfOrder: a part that comes before its turn is still to come.
func TestPartsOutOfOrder(t *testing.T) {
	t.Parallel()
	src := ocitest.StartRegistry(t)
	media, whole := threeMedia(t, client(t, src.Host), src, true)
	host := ocitest.StartRegistry(t).Host
	importer := bundle.NewImporter(client(t, host, host), bundle.ImportOptions{Placement: to(t, host)})
	_, err := importer.Medium(t.Context(), openAt(t, whole, media[2]))
	wantVolumes(t, err, "bundle.tar.003", "bundle.tar.004", "bundle.tar.005")
}

// TestPartsThatFail: a part that is damaged, or that the registry does not take, or the
// end of all that it refuses, makes all parts still to come; given again, in their order,
// they are the blob. The registry is left with none of the uploads that failed.
func TestPartsThatFail(t *testing.T) {
	t.Parallel()
	src := ocitest.StartRegistry(t)
	media, whole := threeMedia(t, client(t, src.Host), src, true)
	for _, how := range []string{"damaged", "refused", "lost", "not ended"} {
		var fault atomic.Pointer[ocitest.Fault]
		registry := ocitest.StartRegistryWith(t, ocitest.RegistryOptions{Three: true}) // 2.8 cannot remove one whose answer was lost
		method := http.MethodPatch
		if how == "not ended" {
			method = http.MethodPut
		}
		dst := ocitest.Misbehave(t, registry.Host, func(r *http.Request) *ocitest.Fault {
			if r.Method == method && strings.Contains(r.URL.Path, "/blobs/") {
				return fault.Load()
			}
			return nil
		})
		importer := bundle.NewImporter(client(t, dst.Host, dst.Host), bundle.ImportOptions{Placement: to(t, dst.Host)})
		damaged := filepath.Join(media[2], "bundle.tar.004")
		for i, m := range []int{1, 2, 1, 2, 0, 1, 2} {
			switch {
			case i == 1 && how == "damaged":
				flip(t, damaged, 100)
			case i == 1 && how != "lost":
				fault.Store(&ocitest.Fault{Status: http.StatusForbidden})
			case i == 1:
				fault.Store(&ocitest.Fault{Lose: true})
			}
			_, err := importer.Medium(t.Context(), openAt(t, whole, media[m]))
			switch {
			case i == 1 && how == "damaged":
				wantError(t, err, bundle.ErrDamaged, "have another digest")
				flip(t, damaged, 100)
			case i == 1:
				wantError(t, err, nil, "import quay.io/team/three:v1")
				fault.Store(nil)
			}
			if i < 4 {
				wantVolumes(t, err, [][]string{nil, {"bundle.tar.003", "bundle.tar.004", "bundle.tar.005"}, {"bundle.tar.004", "bundle.tar.005"}, nil}[i]...)
			}
			if i == 6 && err != nil {
				t.Errorf("%s: %v", how, err)
			}
		}
		left, err := filepath.Glob(filepath.Join(registry.Root, "docker/registry/v2/repositories/*/*/_uploads/*/data"))
		if err != nil || len(left) > 0 {
			t.Errorf("%s: %d uploads are left, %v", how, len(left), err)
		}
		newCrawler(dst.Host).look(t)
		if !slices.Contains(ocitest.NewBuilder(dst.Host).Tags("team/three"), "v1") {
			t.Errorf("%s: the image is not there", how)
		}
	}
}
