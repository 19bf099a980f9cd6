;; W-08: exports nothing
;; outcome: refused
;; says: this is no policy: it exports nothing
;; cost: quick

;;@component
(component)
