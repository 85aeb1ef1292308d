package link

// A Budget bounds the bytes that several links hold together: requests being
// worked on and packets not yet sent.
type Budget struct{}

// NewBudget returns a budget of so many bytes.
func NewBudget(bytes int64) *Budget { panic("unwritten") }
