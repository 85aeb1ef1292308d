package main

import "fmt"

// A protocol is what of a server's protocol is spoken here. All of its functions are called on a
// connection that nobody else reads.
type protocol struct {
	// register makes an account, or finds that it is there. Nil where the server's configuration
	// has all that is needed.
	register func(*conn, user) error
	// signIn signs in, so that the server could deliver a message to the client, and returns
	// when it has said that it was done.
	signIn func(*conn, user) error
	// stay reads until the connection ends, and answers what a server asks of idle clients.
	stay func(*conn) error
	// post is how messages are sent that the server keeps for their receiver; nil where that was not built.
	post *post
}

// A post is how messages get from senders to receivers, which are numbered by pair. Each message that
// has not been answered has a slot of its pair's, a number from 0.
type post struct {
	prepare  func(*conn, user) error // once, before all else; nil where there is nothing to do
	sender   func(*conn, user) error // signs in as the sender of a pair
	receiver func(*conn, user) error // signs in as its receiver
	// append appends a message of a pair to what is to be written.
	append func(b []byte, pair, slot int, content []byte) []byte
	// answer waits for the server's next answer to a sender, and returns the slot that it is for.
	answer func(*conn) (slot int, err error)
	// take waits for the next message to a receiver, whose acknowledgement it queues.
	take func(*conn) (content []byte, err error)
}

// protocols are those that are known.
var protocols = map[string]protocol{
	"centrifugo": {signIn: centrifugoSignIn, stay: centrifugoStay},
	"irc":        {register: ircRegister, signIn: ircSignIn, stay: ircStay},
	"mqtt":       {signIn: mqttSignIn, stay: discard, post: &mqttPost},
	"nats":       {signIn: natsSignIn, stay: natsStay, post: &natsPost},
	"tinode":     {register: tinodeRegister, signIn: tinodeSignIn, stay: tinodeStay},
	"xmpp":       {register: xmppRegister, signIn: xmppSignIn, stay: discard},
}

// A user is one of a server's.
type user struct {
	index    int // of the pair, where there are pairs
	password string
}

func (u user) name() string { return fmt.Sprintf("bench%d", u.index) }

// shared is the name that everybody signs in with where servers have one account for many clients.
const shared = "bench"

// discard reads until the connection ends. Nothing that comes needs an answer.
func discard(c *conn) error {
	for {
		if _, err := c.in.Discard(1); err != nil {
			return err
		}
	}
}
