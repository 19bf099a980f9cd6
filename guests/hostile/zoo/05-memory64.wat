;; W-05: a memory of 64-bit addresses
;; outcome: refused
;; says: not valid
;; cost: quick

;;@component
(component (core module (memory i64 1)))
