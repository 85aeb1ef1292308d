package main

import (
	"encoding/xml"
	"fmt"
)

// A stanza is an element on the first level of a stream.
type stanza struct {
	XMLName xml.Name
	Type    string `xml:"type,attr"`
	Inner   string `xml:",innerxml"`
}

// xmppOpen opens a stream, which begins a document, and reads what the server offers.
func xmppOpen(c *conn) (*xml.Decoder, error) {
	if err := c.send("<?xml version='1.0'?><stream:stream to='" + c.serverName() +
		"' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"); err != nil {
		return nil, err
	}
	d := xml.NewDecoder(c.in)
	for {
		token, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		if start, ok := token.(xml.StartElement); ok {
			if start.Name.Local != "stream" {
				return nil, fmt.Errorf("<%s> came, not a stream", start.Name.Local)
			}
			_, err := xmppNext(d, "features")
			return d, err
		}
	}
}

// xmppNext reads the next stanza, which is to have the name.
func xmppNext(d *xml.Decoder, name string) (s stanza, err error) {
	for {
		token, err := d.Token()
		if err != nil {
			return s, fmt.Errorf("read: %w", err)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if err := d.DecodeElement(&s, &start); err != nil {
			return s, fmt.Errorf("read: %w", err)
		}
		if s.XMLName.Local != name || s.Type == "error" {
			return s, fmt.Errorf("<%s type=%q> came: %s", s.XMLName.Local, s.Type, s.Inner)
		}
		return s, nil
	}
}

// xmppAsk makes a request and reads the answer.
func xmppAsk(c *conn, d *xml.Decoder, query string) (stanza, error) {
	if err := c.send("<iq type='set' id='bench'>" + query + "</iq>"); err != nil {
		return stanza{}, err
	}
	return xmppNext(d, "iq")
}

// xmppRegister registers in band (XEP-0077).
func xmppRegister(c *conn, u user) error {
	d, err := xmppOpen(c)
	if err != nil {
		return err
	}
	answer, err := xmppAsk(c, d, "<query xmlns='jabber:iq:register'><username>"+u.name()+"</username><password>"+u.password+"</password></query>")
	if err != nil && answer.condition() == "conflict" {
		return nil // it is there already
	}
	return err
}

// condition is what the error in a stanza is about.
func (s stanza) condition() string {
	var e struct {
		Error struct {
			Conditions []struct{ XMLName xml.Name } `xml:",any"`
		} `xml:"error"`
	}
	if err := xml.Unmarshal([]byte("<iq>"+s.Inner+"</iq>"), &e); err != nil || len(e.Error.Conditions) == 0 {
		return ""
	}
	return e.Error.Conditions[0].XMLName.Local
}

// xmppSignIn expects a server that begins with TLS (XEP-0368), and ends with a presence, so that messages come.
func xmppSignIn(c *conn, u user) error {
	d, err := xmppOpen(c)
	if err != nil {
		return err
	}
	if err := c.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + plain(u.name(), u.password) + "</auth>"); err != nil {
		return err
	}
	if _, err := xmppNext(d, "success"); err != nil {
		return err
	}
	if d, err = xmppOpen(c); err != nil {
		return err
	}
	if _, err := xmppAsk(c, d, "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"); err != nil {
		return err
	}
	if err := c.send("<presence/>"); err != nil {
		return err
	}
	_, err = xmppNext(d, "presence") // its own
	return err
}
