;; W-06: one function, 40,001 times in element segments
;; outcome: refused
;; says: 40001 elements in its tables
;; cost: quick

;;@component
(component (core module (func $f) (elem func
;;@times 40001 $f
)))
