package pass

import "io"

// exactly is a body that ends where its length says, and is not read again then. Who sends it
// reads once more to see its end. By then Harbor may have answered, and the client's body be
// closed: that failed read would end the connection, and cut the answer.
type exactly struct {
	io.ReadCloser
	left int64
}

func (e *exactly) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	n, err := e.ReadCloser.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	return n, err
}
