;; W-08: another version of the interface
;; outcome: refused
;; says: built against orbit:policy 2.0
;; cost: quick

;;@component
(component (instance $i) (export "orbit:policy/routing@2.0.0" (instance $i)))
