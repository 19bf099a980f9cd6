;; W-08: the right interface without its functions
;; outcome: refused
;; says: does not have the functions of a router
;; cost: quick

;;@component
(component (instance $i) (export "orbit:policy/routing@1.0.0" (instance $i)))
