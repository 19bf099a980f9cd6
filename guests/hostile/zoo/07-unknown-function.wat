;; W-07: imports a function that nobody has
;; outcome: refused
;; says: it imports f
;; cost: quick

;;@component
(component (import "f" (func)))
