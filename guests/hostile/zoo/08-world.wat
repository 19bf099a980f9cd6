;; W-08: a policy of another world
;; outcome: refused
;; says: this is a renderer, the binding asks for a router
;; cost: quick

;;@component
(component (instance $i) (export "orbit:policy/rendering@1.0.0" (instance $i)))
