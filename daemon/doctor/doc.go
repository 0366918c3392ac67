// Package doctor looks whether a host can run a broker that other hosts find, and says of all that
// keeps it from that how it is seen, and how it is mended.
//
//	list := doctor.Examine(doctor.Patient{Config: "/etc/qpid/qpidd.conf", Listen: 2 * time.Second})
//	for i := range list {
//		if list[i].Safe { doctor.Mend(&list[i]) }   // runs list[i].Fix, which was shown before
//	}
//
// It reads what the broker reads, with the same code, and changes nothing by itself. A check is a
// function that looks at one thing; there is one file for each kind of them. What cannot be told,
// for the want of a permission or a program, is unknown and says why.
package doctor
