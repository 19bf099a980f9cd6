;; W-08: another version of the interface
;; outcome: refused
;; says: routing@2.0.0, this host speaks
;; cost: quick

;;@component
(component (instance $i) (export "orbit:policy/routing@2.0.0" (instance $i)))
