package envelope

import "github.com/kenvhq/kenv/pkg/secret"

// Reopen opens a later state of a file, ForReuse: one that Reseal gave, which has the
// same data key. No master key is asked for anything.
func (f *File) Reopen(src []byte) (*File, error) {
	o, err := inspect(src, f.Format, false)
	if err != nil {
		return nil, err
	}
	dataKey := secret.Copy(f.dataKey)
	out, err := o.open(dataKey, OpenOptions{ForReuse: true})
	if err != nil {
		secret.Wipe(dataKey)
		return nil, err
	}
	out.table = f.table
	return out, nil
}
