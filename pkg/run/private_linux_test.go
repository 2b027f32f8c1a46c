package run

import (
	"os"
	"path/filepath"
	"testing"
)

// TestPrivateDir: it is for its owner alone, in memory where there is such a place,
// goes with all that is in it, and so does one whose process was killed.
func TestPrivateDir(t *testing.T) {
	disk := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", disk)
	t.Setenv("TMPDIR", disk)
	d, err := NewPrivateDir(false)
	if err != nil {
		t.Fatal(err)
	}
	if !d.Memory && inMemory("/dev/shm") {
		t.Errorf("%s is not in memory, and /dev/shm is", d.Path)
	}
	if inMemory(disk) != inMemory(filepath.Dir(disk)) || inMemory("/nowhere") {
		t.Error("inMemory is not sure of itself")
	}
	info, err := os.Stat(d.Path)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	secret := filepath.Join(d.Path, "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	// While it is held nobody sweeps it.
	sweepPrivate(filepath.Dir(d.Path))
	if _, err := os.Stat(secret); err != nil {
		t.Fatalf("it was swept while in use: %v", err)
	}
	d.lock.Close() // as when the process is killed
	sweepPrivate(filepath.Dir(d.Path))
	if _, err := os.Stat(d.Path); !os.IsNotExist(err) {
		t.Errorf("it was not swept: %v", err)
	}

	d, err = newPrivateDir(disk)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(disk, "*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
